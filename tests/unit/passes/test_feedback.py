"""The pass that plans, measures and plans again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import onnx
import onnx.parser
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.discovery.selection import select
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.planning.feedback import Feedback
from mosaic_onnx.passes.planning.plan import Plan
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.options import compile_passes
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.profiling.measure_slices import Choice, SegmentsMeasured

MODEL = """
    <ir_version: 9, opset_import: ["" : 17]>
    net (float[2] x) => (float[2] y) { a = Sin (x)  y = Cos (a) }"""


@dataclass(frozen=True)
class ReadyTable:
    """A stand-in for ``estimate``: the profile as it is."""

    name: ClassVar[str] = "estimate"
    requires: ClassVar[tuple[str, ...]] = ("profile",)
    ensures: ClassVar[tuple[str, ...]] = ("table",)

    def __call__(self, state: State) -> State:
        return replace(state, table=cost_table(state.profile))


@dataclass(frozen=True)
class NotedSlices:
    """A stand-in for ``measure_slices``: notes what it is asked for, and measures nothing."""

    name: ClassVar[str] = "measure_slices"
    requires: ClassVar[tuple[str, ...]] = ()
    ensures: ClassVar[tuple[str, ...]] = ("measured",)

    asked: list[Choice] = field(default_factory=list)

    def __call__(self, state: State) -> State:
        self.asked.extend(state.wanted)
        return replace(state, measured=SegmentsMeasured())


@pytest.mark.parametrize(("least_gain", "slices"), [(0.1, 1), (0.01, 2)])
def test_the_slices_of_a_cut_that_promises_little_are_not_measured(
    tmp_path: Path, least_gain: float, slices: int
) -> None:
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "net.onnx")
    upto = [one for one in compile_passes({}) if one.name in ("load", "normalise", "read_inputs", "layerize")]
    start = run_passes(upto, State(tmp_path / "net.onnx", select(["cpu"])))
    measure = NotedSlices()
    feedback = Feedback(ReadyTable(), Plan(Request()), measure, measure, run_limit=0, least_gain=least_gain)
    end = feedback(replace(start, profile=two_devices(gain=0.05)))
    assert len(end.plan.slices) == slices
    assert len({choice[:2] for choice in measure.asked}) == slices


def two_devices(gain: float) -> Profile:
    """Two layers on two devices; the second is faster on the second layer by a share of the whole."""
    costs = ({"a": Cost(0.5), "b": Cost(0.9)}, {"a": Cost(0.5), "b": Cost(0.5 - gain)})
    layers = tuple(
        ProfileLayer(f"layer{at}", (f"t{at}",), (f"t{at + 1}",), cost, nodes=(f"n{at}",))
        for at, cost in enumerate(costs)
    )
    tensors = {"t0": 4, "t1": 4, "t2": 4}
    return Profile("two", (Device("a", "x"), Device("b", "x")), tensors, ("t0",), ("t2",), layers)
