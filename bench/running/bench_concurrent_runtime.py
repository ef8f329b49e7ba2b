"""Real overlap: the concurrent plan against the sequential one on two devices, and against its own prediction.

Two CPU devices of one core each; and two simulated devices, which sleep for their described times, so that the
runtime's overhead shows independent of other load.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bench.measuring import program_of, ratio_row, repeats
from bench.report import Row
from bench.workloads import Workload, absent, classic
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.plans import Schedule
from mosaic_onnx.core.process.cpu_cores import usable_cores
from mosaic_onnx.discovery.selection import Selection, select
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.pipelines import PROFILE
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.profiling.interleaved import measure_interleaved
from mosaic_onnx.rewriting.rewrite import slice_models
from mosaic_onnx.runtime.executor import Executor

BAR = 0.9
"""1 means no overlap, 0.5 full overlap; a lower ratio than this is real overlap."""
SCHEDULES: tuple[Schedule, ...] = ("concurrent", "sequential")


def run(quick: bool) -> list[Row]:
    rounds = 5 if quick else 21
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        towers, small = (Workload("four towers", Path(name) / f"towers{size}.onnx") for size in (128, 8))
        onnx.save(_towers(4, 4, 128), towers.path)
        onnx.save(_towers(4, 4, 8), small.path)
        rows += _compare(small, _sleepers(), "simulated devices that sleep", rounds)
        if len(usable_cores()) < 2:
            return [*rows, Row("two one-core devices", float("nan"), "ratio", note="skipped: one core only")]
        models = [towers, *classic(() if quick else ("inception_v1",), Path(name))]
        for model in models:
            rows += _compare(model, _two_cores(), "two devices of one core", rounds)
    return rows + ([Row("inception_v1", float("nan"), "ratio", note=absent())] if absent() else [])


def _two_cores() -> Selection:
    """Return ONNX Runtime's CPU provider twice, each held on a core of its own."""
    devices = tuple(
        Device(f"core{core}", backend="onnxruntime", options={"threads": 1, "cores": str(core)})
        for core in sorted(usable_cores())[:2]
    )
    return replace(select(), chosen=devices, left_out=())


def _sleepers() -> Selection:
    """Return two described devices with host memory, 5 ms an operator."""
    devices = tuple(
        Device(name, backend="simulated", simulated=True, options={"seconds_per_operator": 0.005}) for name in "ab"
    )
    return replace(select(), chosen=devices, left_out=())


def _compare(model: Workload, selection: Selection, what: str, rounds: int) -> Iterator[Row]:
    prepared = run_passes(PROFILE, State(model.path, selection))
    profile = prepared.profile
    programs: dict[str, Executor] = {}
    predicted_s: dict[str, float] = {}
    for schedule in SCHEDULES:
        plan = plan_profile(profile, Request(schedule=schedule, time_limit_s=5.0))
        slices = slice_models(prepared.normalised.model, prepared.normalised.folder, plan, profile)
        programs[schedule] = program_of(plan, slices, selection, prepared.inputs, prepared.outputs)
        predicted_s[schedule] = plan.predicted.seconds
    try:
        calls = {name: (lambda program=program: program.run(prepared.inputs)) for name, program in programs.items()}
        once_s = measure_interleaved(calls, round_count=3, repeat_count=1).median_s("sequential")
        timings = measure_interleaved(calls, round_count=rounds, repeat_count=repeats(once_s))
    finally:
        for program in programs.values():
            program.close()
    promised = predicted_s["concurrent"] / predicted_s["sequential"]
    note = f"{what}; predicted {promised:.3f}"
    bar = BAR if promised < BAR - 0.05 else None
    yield ratio_row(f"{model.name}: side by side", timings, "concurrent", "sequential", bar, note)
    for name, seconds in predicted_s.items():
        error = seconds / timings.median_s(name) - 1
        yield Row(f"{model.name}: {name} makespan predicted off by", error, "ratio", None, "measured", note=what)


def _towers(count: int, depth: int, size: int) -> onnx.ModelProto:
    """Return parallel towers of convolutions over one input, added up at the end, with seeded weights."""
    random = np.random.default_rng(0)
    nodes, weights, tops = [], [], []
    for tower in range(count):
        last = "x"
        for level in range(depth):
            name = f"tower{tower}/{level}"
            weight = random.standard_normal((32, 32, 3, 3)).astype(np.float32) / 17
            weights.append(numpy_helper.from_array(weight, f"{name}/w"))
            nodes.append(helper.make_node("Conv", [last, f"{name}/w"], [name], name, pads=[1, 1, 1, 1]))
            last = name
        tops.append(last)
    nodes.append(helper.make_node("Sum", tops, ["y"], "join"))
    value = helper.make_tensor_value_info
    shape = [1, 32, size, size]
    graph = helper.make_graph(nodes, "towers", [value("x", 1, shape)], [value("y", 1, shape)], weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
