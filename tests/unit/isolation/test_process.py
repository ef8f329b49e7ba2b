"""Children: they die with their parent, tell on whom one waits, and take no longer than is sensible."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import DeviceError
from mosaic_onnx.isolation import process
from mosaic_onnx.isolation.backend import IsolatedBackend, in_process, isolated
from mosaic_onnx.isolation.marks import Mark, Marks
from mosaic_onnx.isolation.process import ChildDied, ChildProcess
from mosaic_onnx.isolation.tensors import SharedTensors
from mosaic_onnx.profiling.measuring.slices import SliceTrial
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.profiling.measuring.worker import START_S, request_limit_s
from tests.unit.backends.helpers import unary

ROOT = Path(__file__).parents[3]
FAKES = "tests.unit.profiling.fake_backends"
ADDRESS = "mosaic_onnx.backends.onnxruntime.backend:BACKEND"
X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
PARENT = f"""
import sys, time
from mosaic_onnx.isolation.process import ChildProcess
child = ChildProcess("working", {{"working": "{FAKES}:WORKING"}})
child.ask("mosaic_onnx.isolation.actions:find", {{"backend": "working"}}, 60.0)
print(child._process.pid, flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux kills children with their parent")
def test_a_child_dies_with_a_parent_that_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.send_signal(signal.SIGKILL)
    end_s = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert not is_alive(pid)


def test_who_waits_is_told_on_whom(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(process, "WORD_EVERY_S", 0.5)
    child = ChildProcess("hanging", {"hanging": f"{FAKES}:HANGING"})
    request = {"device": {"name": "hanging", "backend": "hanging", "levels": []}, "slice": None}
    with closing(child), caplog.at_level(logging.WARNING):
        child._start().send_signal(signal.SIGSTOP)
        with pytest.raises(ChildDied, match="did not finish within 2 s"):
            child.ask("mosaic_onnx.isolation.actions:load", request, 2.0, "to compile a slice of 3 nodes")
    assert "waiting for hanging (to compile a slice of 3 nodes)" in caplog.text


def test_the_limit_scales_with_what_is_known() -> None:
    def limit_s(known_s: float | None) -> float:
        return request_limit_s(120.0, SliceTrial({}, {}, TimeBudget(1.0), known_s), 10)

    assert limit_s(None) == 120.0
    assert START_S < limit_s(0.002) < 30.0
    assert limit_s(0.002) < limit_s(0.03) < limit_s(1.0) == 120.0


def test_marks_outlive_their_writer(tmp_path: Path) -> None:
    reader = Marks.create(tmp_path / "marks")
    writer = Marks.open(tmp_path / "marks")
    assert reader.read() is None
    writer.set(writer.number(Mark("npu", "run", "first")))
    writer.set(writer.number(Mark("gpu", "load", "second")))
    assert reader.read() == Mark("gpu", "load", "second")
    reader.clear()
    assert reader.read() is None


def test_tensors_travel_in_shared_memory(tmp_path: Path) -> None:
    writer, reader = SharedTensors(tmp_path / "shared"), SharedTensors(tmp_path / "shared")
    for count in (3, 3000):
        tensors = {
            "floats": np.arange(count, dtype=np.float32).reshape(1, count),
            "scalar": np.array(2.5),
            "none": np.empty((0, 4), np.int64),
            "flags": np.array([True, False]),
            "words": np.array(["a", "bc"], dtype=object),
        }
        read = reader.read(writer.write(tensors)["index"])
        for name, array in tensors.items():
            assert read[name].dtype == array.dtype
            assert read[name].shape == array.shape
            assert np.array_equal(read[name], array)


def test_an_index_that_does_not_fit_the_file_is_refused(tmp_path: Path) -> None:
    shared = SharedTensors(tmp_path / "shared")
    index = shared.write({"x": X})["index"]
    index["x"]["shape"] = [1 << 20]
    with pytest.raises(ValueError, match="holds less than the message says"):
        shared.read(index)


def test_an_isolated_device_computes_what_it_computes_here() -> None:
    backend = IsolatedBackend(BACKEND, ADDRESS, isolates_all=True)
    device = Device("cpu", backend="onnxruntime")
    with closing(backend):
        runner = backend.load(unary("Neg"), device)
        assert np.array_equal(runner.run({"x": X})["y"], -X)
        y = np.empty_like(X)
        x = X.copy()
        call = runner.bind({"x": x}, {"y": y})
        for factor in (1, 3):
            x[...] = factor * X
            call()
            assert np.array_equal(y, -factor * X)
        runner.close()
        with pytest.raises(DeviceError, match="on cpu: input 'x' is missing"):
            backend.load(unary("Neg"), device).run({})


def test_only_devices_that_can_crash_leave_this_process() -> None:
    backends = isolated({"onnxruntime": BACKEND})
    wrapped = backends["onnxruntime"]
    assert isinstance(wrapped, IsolatedBackend)
    assert not wrapped.isolates(Device("cpu", backend="onnxruntime"))
    assert wrapped.isolates(Device("npu", backend="onnxruntime", options={"provider": "QNNExecutionProvider"}))
    assert in_process(backends) == {"onnxruntime": BACKEND}


def test_a_child_that_nobody_holds_any_more_is_ended() -> None:
    child = ChildProcess("working", {"working": f"{FAKES}:WORKING"})
    child.ask("mosaic_onnx.isolation.actions:find", {"backend": "working"}, 60.0)
    assert child._process is not None
    pid = child._process.pid
    del child
    assert not is_alive(pid)
