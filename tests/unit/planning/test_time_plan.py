"""Timing a plan's slices while the whole plan runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.graph.graphs import node_keys
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.planning.time_plan import Effort, PlanTimer, quiet_seconds
from mosaic_onnx.rewriting.extracting import Extractor
from mosaic_onnx.runtime.trace import Span, Trace

MODEL = onnx.parser.parse_model("""
    <ir_version: 9, opset_import: ["" : 17]>
    two (float[1,8] x) => (float[1,8] y) <float[1,8] a> { a = Sin(x) y = Cos(a) }""")
DEVICES = {name: Device(name, backend="onnxruntime", options={"threads": 1}) for name in ("big", "little")}


def plan_on(*states: str) -> Plan:
    keys = node_keys(MODEL.graph)
    slices = tuple(Slice((at,), state, nodes=(keys[at],)) for at, state in enumerate(states))
    return Plan("latency", "sequential", "forced", slices, (), Predicted(0.0, None, 0.0))


@dataclass
class Cutting:
    """Cuts slices and counts how often it was asked."""

    asked: list[Plan] = field(default_factory=list)

    def __call__(self, plan: Plan) -> Sequence[SliceModel]:
        self.asked.append(plan)
        extractor = Extractor(MODEL, None)
        return [extractor.extract(one.nodes) for one in plan.slices]


def rehearsal(cut: Cutting, cache: Cache | None = None) -> PlanTimer:
    x = np.ones((1, 8), np.float32)
    effort = Effort(seconds=0.0, min_runs=3)
    return PlanTimer(cut, DEVICES, {"onnxruntime": BACKEND}, {"x": x}, ["y"], "sha", {}, cache, effort)


def test_every_slice_of_a_plan_that_runs_is_timed() -> None:
    taken = rehearsal(Cutting())(plan_on("big", "little"))
    assert len(taken) == 2
    assert all(0 < each < 1 for each in taken)


def test_figures_are_kept_and_not_measured_again(tmp_path: Path) -> None:
    cut = Cutting()
    rehearse = rehearsal(cut, Cache(tmp_path))
    assert rehearse(plan_on("big", "little")) == rehearse(plan_on("big", "little"))
    assert len(cut.asked) == 1
    rehearse(plan_on("little", "big"))
    assert len(cut.asked) == 2


def test_a_plan_from_which_nothing_can_be_learned_is_not_run() -> None:
    cut = Cutting()
    assert rehearsal(cut)(replace(plan_on("big", "little"), schedule="concurrent")) == ()
    simulated = {name: replace(device, simulated=name == "big") for name, device in DEVICES.items()}
    assert replace(rehearsal(cut), devices=simulated)(plan_on("big", "little")) == ()
    assert cut.asked == []


def test_a_plan_that_does_not_run_tells_nothing() -> None:
    broken = {**DEVICES, "big": replace(DEVICES["big"], options={"provider": "NoSuchExecutionProvider"})}
    assert replace(rehearsal(Cutting()), devices=broken)(plan_on("big", "little")) == ()


def test_the_quietest_quarter_of_the_runs_counts() -> None:
    def trace(*seconds: float) -> Trace:
        spans = tuple(Span(f"slice {at}", "slice", "cpu", 0.0, each, at) for at, each in enumerate(seconds))
        return Trace(spans, sum(seconds))

    noisy = [trace(9.0, 1.0), trace(1.0, 9.0), trace(5.0, 5.0)]
    ends = Trace((Span("inputs", "input", "host", 0.0, 0.5), *trace(1.0, 1.0).spans), 2.5)
    assert quiet_seconds([ends], 2) == pytest.approx((1.5, 1.0))
    assert quiet_seconds([*noisy, trace(2.0, 3.0)], 2) == pytest.approx((2.0, 3.0))
