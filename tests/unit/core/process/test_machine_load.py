"""The cores that others take: other programs, and the host of a virtual machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mosaic_onnx.core.process import machine_load
from mosaic_onnx.core.process.machine_load import (
    CoreTimes,
    OthersLoad,
    load_between,
    others_load,
    read_core_times,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what others take")


def test_what_is_not_of_this_process_is_of_others() -> None:
    before, after = CoreTimes(10.0, 1.0, 3.0), CoreTimes(14.0, 1.5, 4.0)
    assert load_between(before, after, 2.0) == OthersLoad(programs=1.5, host=0.25)


def test_own_work_beside_an_idle_machine_is_nobody_elses() -> None:
    before, after = CoreTimes(10.0, 0.0, 3.0), CoreTimes(14.0, 0.0, 7.1)  # clocks tick apart
    assert load_between(before, after, 2.0) == OthersLoad(0.0, 0.0)


def test_only_usable_cores_count_and_children_with_their_ended_children_are_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_load, "usable_cores", lambda: (0, 2))
    monkeypatch.setattr(os, "getpid", lambda: 7)
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    (tmp_path / "stat").write_text(
        "cpu  9 9 9 9 9 9 9 9 0 0\n"
        "cpu0 100 20 30 4000 50 6 7 80 0 0\n"
        "cpu1 900 900 900 900 900 900 900 900 0 0\n"
        "cpu2 200 0 0 4000 0 0 0 20 0 0\n"
        "intr 1 2 3\n"
    )
    for process, children, ticks in ((7, "8 9", "10 1 2 3"), (8, "", "100 0 0 0")):  # 9 has ended in the meantime
        task = tmp_path / str(process) / "task" / str(process)
        task.mkdir(parents=True)
        (task / "children").write_text(children)
        fields = " ".join(["S", "1", "1", "1", "0", "-1", "0", "0", "0", "0", "0", ticks, "20", "0"])
        (tmp_path / str(process) / "stat").write_text(f"{process} (a) name) {fields}\n")
    assert read_core_times(tmp_path) == CoreTimes(
        busy_s=pytest.approx(3.63), stolen_s=pytest.approx(1.0), own_s=pytest.approx(1.16)
    )


def test_a_system_that_tells_nothing_has_no_answer(tmp_path: Path) -> None:
    assert read_core_times(tmp_path) is None
    assert others_load(0.0, tmp_path) is None


@linux
def test_a_child_that_works_is_own_work() -> None:
    before = read_core_times()
    words = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        after = read_core_times()
        child.kill()
    assert before is not None
    assert after is not None
    assert after.own_s - before.own_s >= 0.25
    assert after.busy_s - before.busy_s >= 0.25
