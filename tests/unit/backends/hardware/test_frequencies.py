"""Frequency domains are read from cpufreq and devfreq, held, and restored whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mosaic_onnx.backends.hardware.frequencies import cpu_policies, devfreq_domains, domains_of_cores
from mosaic_onnx.backends.hardware.frequency_guard import FrequencyControl, FrequencyLimits
from mosaic_onnx.backends.hardware.system import SystemFiles
from mosaic_onnx.core.errors import BackendError
from tests.unit.backends.hardware.recorded import BIG_KHZ, LITTLE_KHZ, phone, policy, write


def limits(folder: Path) -> tuple[str, str]:
    return (folder / "scaling_min_freq").read_text().strip(), (folder / "scaling_max_freq").read_text().strip()


def test_each_policy_is_a_domain_with_its_cores_and_frequencies(tmp_path: Path) -> None:
    little, big = cpu_policies(phone(tmp_path).files)
    assert (little.name, little.cores, little.governor) == ("policy0", (0, 1, 2, 3), "schedutil")
    assert little.frequencies_hz == tuple(1e3 * each for each in LITTLE_KHZ)
    assert big.frequencies_hz == tuple(1e3 * each for each in BIG_KHZ)


def test_a_gpu_is_a_domain_of_devfreq(tmp_path: Path) -> None:
    (gpu,) = devfreq_domains(phone(tmp_path).files)
    assert gpu.frequencies_hz == (104e6, 415e6, 767e6)
    assert gpu.governor == "simple_ondemand"


def test_a_policy_that_lists_no_frequencies_gets_equal_steps(tmp_path: Path) -> None:
    folder = policy(tmp_path, [0, 1], (800_000, 3_800_000))
    (folder / "scaling_available_frequencies").unlink()
    (domain,) = cpu_policies(SystemFiles(tmp_path))
    assert domain.frequencies_hz == (8e8, 18e8, 28e8, 38e8)


def test_domains_are_found_by_the_cores_that_they_govern(tmp_path: Path) -> None:
    policies = cpu_policies(phone(tmp_path).files)
    assert [each.name for each in domains_of_cores(policies, [5])] == ["policy4"]
    assert [each.name for each in domains_of_cores(policies, [3, 4])] == ["policy0", "policy4"]


def test_a_domain_is_held_by_both_limits_and_given_back(tmp_path: Path) -> None:
    board = phone(tmp_path)
    before = limits(board.big)
    _, big = cpu_policies(board.files)
    with FrequencyControl([big]) as control:
        control.set_hz(big, 1.21e9)
        assert limits(board.big) == ("1210000", "1210000")
        control.set_hz(big, 2.362e9)
        assert limits(board.big) == ("2362000", "2362000")
    assert limits(board.big) == before


def test_two_devices_of_one_domain_restore_it_when_both_are_done(tmp_path: Path) -> None:
    board = phone(tmp_path)
    before = limits(board.big)
    _, big = cpu_policies(board.files)
    first, second = FrequencyControl([big]), FrequencyControl([big])
    first.set_hz(big, 6.82e8)
    second.set_hz(big, 2.362e9)
    first.set_hz(big, 6.82e8)
    assert limits(board.big) == ("682000", "682000")
    first.close()
    assert limits(board.big) == ("682000", "682000")
    second.close()
    assert limits(board.big) == before


def test_another_process_waits_for_a_held_domain_and_then_knows_its_former_limits(tmp_path: Path) -> None:
    board = phone(tmp_path)
    before = limits(board.big)
    _, big = cpu_policies(board.files)
    first, second = FrequencyControl([big], FrequencyLimits()), FrequencyControl([big], FrequencyLimits())
    first.set_hz(big, 6.82e8)
    waiting = threading.Thread(target=second.set_hz, args=(big, 2.362e9))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    first.close()
    waiting.join(20.0)
    assert limits(board.big) == ("2362000", "2362000")
    second.close()
    assert limits(board.big) == before


def test_limits_are_restored_when_the_work_fails(tmp_path: Path) -> None:
    board = phone(tmp_path)
    before = limits(board.big)
    _, big = cpu_policies(board.files)
    control = FrequencyControl([big])

    def work() -> None:
        with control:
            control.set_hz(big, 6.82e8)
            raise RuntimeError("the work failed")

    with pytest.raises(RuntimeError, match="the work failed"):
        work()
    assert limits(board.big) == before


def test_limits_are_restored_when_the_process_is_killed(tmp_path: Path) -> None:
    board = phone(tmp_path)
    before = limits(board.big)
    script = f"""
import time
from pathlib import Path
from mosaic_onnx.backends.hardware.frequencies import cpu_policies
from mosaic_onnx.backends.hardware.frequency_guard import FrequencyControl
from mosaic_onnx.backends.hardware.system import SystemFiles
_, big = cpu_policies(SystemFiles(Path({str(tmp_path)!r})))
FrequencyControl([big]).set_hz(big, 6.82e8)
print("held", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=os.getcwd())
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert limits(board.big) == ("682000", "682000")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20.0
    while limits(board.big) != before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert limits(board.big) == before


def test_a_domain_that_may_not_be_set_says_which_file_and_what_to_run(tmp_path: Path) -> None:
    write(tmp_path / "sys/class/devfreq/npu", {"available_frequencies": "100 200", "cur_freq": 100})
    (domain,) = devfreq_domains(SystemFiles(tmp_path))
    assert "max_freq is not writable" in (domain.why_not() or "")
    with pytest.raises(BackendError, match="max_freq cannot be opened"):
        FrequencyControl([domain]).set_hz(domain, 100.0)
