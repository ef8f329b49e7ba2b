from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.process.cpu_cores import usable_cores
from mosaic_onnx.runtime.executor import open_program
from tests.unit.runtime.helpers import FakeBackend, diamond, open_fake, plan_of

X = np.array([-1.0, 2.0, -3.0, 4.0], np.float32)


def test_branches_on_two_devices_run_at_the_same_time() -> None:
    backend = FakeBackend(seconds={"left": 0.1, "right": 0.1})
    with open_fake(diamond(), ["top", "left", "right", "top"], backend, schedule="concurrent") as program:
        program.run({"x": X})
        _, trace = program.run_timed({"x": X})
    top, left, right, join = (span for number in range(4) for span in trace.spans if span.slice == number)
    assert top.end_s <= min(left.start_s, right.start_s)
    assert right.start_s < left.end_s
    assert left.start_s < right.end_s
    assert join.start_s >= max(left.end_s, right.end_s)


def test_every_device_works_on_a_thread_of_its_own_and_in_the_plan_s_order() -> None:
    backend = FakeBackend()
    with open_fake(diamond(), ["a", "b", "a", "b"], backend, schedule="concurrent") as program:
        _, trace = program.run_timed({"x": X})
    assert [runner.threads for runner in backend.runners] == [{"mosaic a"}, {"mosaic b"}, {"mosaic a"}, {"mosaic b"}]
    for lane, names in (("a", ["slice 0", "slice 2"]), ("b", ["slice 1", "slice 3"])):
        assert [span.name for span in trace.spans if span.lane == lane] == names


def test_a_sequential_plan_starts_no_thread() -> None:
    before = threading.active_count()
    with open_fake(diamond(), ["a", "b", "a", "b"]):
        assert threading.active_count() == before


def test_an_error_on_one_device_stops_the_others_and_reaches_the_caller() -> None:
    backend = FakeBackend(failing={"left"}, seconds={"right": 0.02})
    with open_fake(diamond(), ["top", "left", "right", "join"], backend, schedule="concurrent") as program:
        with pytest.raises(BackendError, match="left is broken"):
            program.run({"x": X})
        assert backend.runners[3].threads == set()


CTRL_C = """
import signal, threading, time
import numpy as np
from tests.unit.runtime.helpers import FakeBackend, diamond, open_fake

X = np.array([-1.0, 2.0, -3.0, 4.0], np.float32)


def press(device):
    if device == "left":
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.5)  # the slice goes on: what follows it must not start


signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background
backend = FakeBackend(hook=press)
with open_fake(diamond(), ["top", "left", "right", "join"], backend, schedule="concurrent") as program:
    try:
        program.run({"x": X})
    except KeyboardInterrupt:
        print("interrupted", len(backend.runners[3].threads))
    backend.hook = lambda device: None
    print("again", program.run({"x": X})["y"].tolist() == np.maximum(X, 0).tolist())
"""
"""In a process of its own: test runners may run tests outside the main thread, where no signal arrives."""


def test_ctrl_c_stops_the_workers_and_the_program_can_run_again() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines() == ["interrupted 0", "again True"], done.stderr


def test_several_callers_wait_for_each_other() -> None:
    backend = FakeBackend()
    wrong: list[float] = []
    with open_fake(diamond(), ["a", "b", "a", "b"], backend, schedule="concurrent") as program:

        def ask(scale: float) -> None:
            for _ in range(20):
                if not np.array_equal(program.run({"x": X * scale})["y"], np.maximum(X * scale, 0)):
                    wrong.append(scale)

        callers = [threading.Thread(target=ask, args=(scale,)) for scale in (1.0, 2.0, 3.0)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert not wrong


def test_closing_lets_the_threads_go() -> None:
    before = threading.active_count()
    program = open_fake(diamond(), ["a", "b", "a", "b"], schedule="concurrent")
    program.run({"x": X})
    assert threading.active_count() == before + 2
    program.close()
    assert threading.active_count() == before


def test_a_program_that_is_dropped_lets_its_threads_go() -> None:
    before = threading.active_count()
    program = open_fake(diamond(), ["a", "b", "a", "b"], schedule="concurrent")
    program.run({"x": X})
    del program
    deadline = time.perf_counter() + 2
    while threading.active_count() > before and time.perf_counter() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


@pytest.mark.skipif(len(usable_cores()) < 2, reason="needs two cores")
def test_a_pinned_device_s_worker_is_held_on_its_core() -> None:
    one, other = usable_cores()[:2]
    devices = {
        name: Device(name, backend="onnxruntime", options={"threads": 1, "cores": str(core)})
        for name, core in (("a", one), ("b", other))
    }
    with open_program(
        diamond(),
        plan_of(["a", "b", "a", "b"], "concurrent"),
        devices,
        {"onnxruntime": BACKEND},
        inputs=["x"],
        outputs=["y"],
    ) as program:
        program.run({"x": X})
        held = {thread.name: _cores_of(thread) for thread in threading.enumerate() if thread.name.startswith("mosaic ")}
    assert held == {"mosaic a": {one}, "mosaic b": {other}}


def _cores_of(thread: threading.Thread) -> set[int]:
    import os

    return os.sched_getaffinity(thread.native_id or 0)
