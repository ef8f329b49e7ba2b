"""The locked clocks of an NVIDIA GPU are levels; they are unlocked at the end, and when the process is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mosaic_onnx.backends.hardware import nvml
from mosaic_onnx.backends.hardware.frequency_guard import FrequencyControl
from mosaic_onnx.backends.hardware.nvml import nvml_clocks
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from tests.unit.backends.hardware.nvml_stand_in import built

CUDA = {"provider": "CUDAExecutionProvider", "own_memory": "cuda"}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that holds the GPU's locked clock; the stand-in is this machine's driver."""
    monkeypatch.setattr(nvml, "LIBRARY", built(tmp_path))
    monkeypatch.setenv("NVML_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "state").write_text("unlocked")
    return tmp_path / "state"


def test_some_supported_clocks_are_the_levels_of_a_cuda_device(state: Path) -> None:
    offer = BACKEND.offered_levels(Device("cuda0", backend="onnxruntime", options={**CUDA, "hardware": 0}))
    assert [level.name for level in offer.levels] == ["345MHz", "900MHz", "1200MHz", "1980MHz"]


def test_a_gpu_whose_driver_tells_no_clocks_has_no_levels_and_says_so(state: Path) -> None:
    offer = BACKEND.offered_levels(Device("cuda1", backend="onnxruntime", options={**CUDA, "hardware": 1}))
    assert offer.why_not == "nvml:1: NVIDIA's driver tells no clocks that can be locked"


def test_who_is_not_root_is_told_so(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert nvml_clocks()[0].why_not() == "nvml:0: locking clocks needs root: run as root"


def test_a_level_locks_the_clock_and_the_end_unlocks_it(state: Path) -> None:
    device = Device("cuda", backend="onnxruntime", options=CUDA)
    lowest = BACKEND.offered_levels(device).levels[0]
    control = BACKEND.level_control(device)
    control.set_level(lowest)
    assert (state.read_text(), control.read_hz()) == ("345", 345e6)
    control.close()
    assert state.read_text() == "unlocked"


def test_two_devices_on_one_gpu_unlock_it_when_both_are_done(state: Path) -> None:
    clock = nvml_clocks()[0]
    cuda, tensorrt = FrequencyControl([clock]), FrequencyControl([clock])
    cuda.set_hz(clock, 345e6)
    tensorrt.set_hz(clock, 1980e6)
    cuda.set_hz(clock, 345e6)
    assert state.read_text() == "345"
    cuda.close()
    assert state.read_text() == "345"
    tensorrt.close()
    assert state.read_text() == "unlocked"


def test_a_killed_process_leaves_the_clock_unlocked(state: Path) -> None:
    script = f"""
import time
from mosaic_onnx.backends.hardware.frequency_guard import FrequencyControl
from mosaic_onnx.backends.hardware.nvml import nvml_clocks
clock = nvml_clocks({nvml.LIBRARY!r})[0]
FrequencyControl([clock]).set_hz(clock, 600e6)
print("held", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    assert state.read_text() == "600"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20.0
    while state.read_text() != "unlocked" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert state.read_text() == "unlocked"
