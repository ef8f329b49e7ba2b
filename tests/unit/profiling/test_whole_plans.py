"""Whole plans in a child process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import DeviceError
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.isolation import process
from mosaic_onnx.profiling.whole_plans.child import ProgramChild
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine, PlanToRun

CPU = Device("cpu", backend="onnxruntime")


def plan_of(text: str) -> PlanToRun:
    """One slice on ``cpu`` that runs a graph."""
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> whole {text}')
    slices = (Slice((0,), "cpu", 0.0, 1.0),)
    plan = Plan("latency", "sequential", "by hand", slices, (), Predicted(1.0, None, 1.0))
    return PlanToRun(plan, (SliceModel(model, "", ("x",), ("y",)),))


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that children share with this process, as they are made."""
    folders: list[Path] = []
    real = process.ChildProcess.__init__

    def init(self: process.ChildProcess, *words: object) -> None:
        real(self, *words)  # type: ignore[arg-type]
        folders.append(self.files)

    monkeypatch.setattr(process.ChildProcess, "__init__", init)
    return folders


@pytest.fixture
def child(files: list[Path]) -> Iterator[ProgramChild]:
    inputs = {"x": np.ones(4, np.float32)}
    with ProgramChild(Machine({"cpu": CPU}, {"onnxruntime": BACKEND}), inputs, ("y",)) as opened:
        yield opened


def test_a_plan_is_loaded_and_timed_in_the_child(child: ProgramChild) -> None:
    number = child.open(plan_of("(float[4] x) => (float[4] y) { y = Sin (x) }"))
    seconds = child.repeat(number, 1, 3)
    assert len(seconds) == 3
    assert all(each > 0 for each in seconds)


def test_the_files_of_slices_go_once_they_are_loaded_or_refused(child: ProgramChild, files: list[Path]) -> None:
    """They lie in memory, weights and all."""
    child.open(plan_of("(float[4] x) => (float[4] y) { y = Sin (x) }"))
    with pytest.raises(DeviceError, match="Nonsense"):
        child.open(plan_of("(float[4] x) => (float[4] y) { y = Nonsense (x) }"))
    (folder,) = files
    assert folder.is_dir()
    assert not list(folder.glob("*.onnx"))
