"""The clock of a child's limit stands still while other programs keep the child from every core."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mosaic_onnx.core.process import process_clock
from mosaic_onnx.core.process.process_clock import PATIENCE, ProcessClock

SPIN = "while True: pass"


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(words) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def test_a_process_that_sleeps_uses_its_time_up() -> None:
    began_s = time.monotonic()
    with running("sleep", "60") as process:
        clock = ProcessClock(process.pid, began_s, is_new=True)
        time.sleep(0.5)
        assert clock.elapsed_s() > 0.3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long a thread waited for a core")
def test_a_process_that_shares_its_core_is_given_what_the_other_took() -> None:
    core = str(min(os.sched_getaffinity(0)))
    pinned = ("taskset", "-c", core, sys.executable, "-c", SPIN)
    with running(*pinned), running(*pinned) as held_up:
        began_s = time.monotonic()
        clock = ProcessClock(held_up.pid, began_s, is_new=False)
        time.sleep(2.0)
        elapsed_s = clock.elapsed_s()
        assert elapsed_s < 0.8 * (time.monotonic() - began_s)


def test_no_load_stretches_a_limit_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ProcessClock(os.getpid(), time.monotonic() - 50.0, is_new=True)
    monkeypatch.setattr(process_clock, "waited_s", lambda pid: {pid: 1e9})
    assert clock.elapsed_s() == pytest.approx(50.0 / PATIENCE, rel=0.1)
    wall = ProcessClock(os.getpid(), time.monotonic() - 50.0, is_new=True, patience=1.0)
    assert wall.elapsed_s() == pytest.approx(50.0, rel=0.1)


def test_a_process_that_is_gone_has_only_the_wall_clock() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    clock = ProcessClock(process.pid, time.monotonic() - 3.0, is_new=True)
    assert clock.elapsed_s() >= 3.0
