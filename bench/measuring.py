"""Helpers of several benchmarks: devices of one thread, programs of delivered plans, rows of ratios."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.report import Row
from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.core.profiles import Profile, ProfileLayer
from mosaic_onnx.discovery.selection import Selection, select
from mosaic_onnx.isolation.backend import in_process
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.compilation import Compilation
from mosaic_onnx.pipeline.pipelines import PREPARE
from mosaic_onnx.planning.candidates import single_device_plan
from mosaic_onnx.profiling.interleaved import InterleavedTimings, Ratio, measure_interleaved
from mosaic_onnx.rewriting.rewrite import slice_models
from mosaic_onnx.runtime.executor import Executor, open_program

CPU = Device("cpu", backend="onnxruntime", options={"threads": 1})
PLAN = "compiled"
"""Name of the delivered plan in tables."""
Calls = dict[str, Callable[[], object]]
"""{name in tables: the timed call}."""
SHORTEST_S = 0.1
"""A round repeats a call for about this time and keeps the least, since the first runs have cold caches."""


def one_thread(*names: str) -> Selection:
    """Return the named devices that are available, each with one thread.

    Raises:
        UsageError: none of them is available.
    """
    every = select(())
    here = [device for device in every.devices if device.name in names]
    if not here:
        raise UsageError(f"none of {', '.join(names)} is here")
    chosen = tuple(replace(device, options={**device.options, "threads": 1}) for device in here)
    return replace(every, chosen=chosen, left_out=())


def repeats(seconds: float) -> int:
    """Return the number of runs of a call in a round."""
    return max(3, min(20, math.ceil(SHORTEST_S / max(seconds, 1e-6))))


def delivered_calls(compiled: Compilation, stack: ExitStack) -> Calls:
    """Return the calls of the delivered plan and of each device that runs the model alone; the stack closes them."""
    prepared, profile, inputs = compiled.state, compiled.state.profile, compiled.state.inputs
    plans = {PLAN: (compiled.plan, compiled.tuned)}
    for device in compiled.state.selection.chosen:
        plan = single_device_plan(profile, device.name, compiled.state.plan)
        if plan is not None:
            model_and_folder = prepared.normalised.model, prepared.normalised.folder
            plans[device.name] = plan, slice_models(*model_and_folder, plan, profile)
    calls: Calls = {}
    for name, (plan, slices) in plans.items():
        program = program_of(plan, slices, compiled.state.selection, prepared.inputs, prepared.outputs)
        calls[name] = partial(stack.enter_context(program).run, inputs)
    return calls


def interleaved(calls: Calls, rounds: int) -> InterleavedTimings:
    """Return the timings of rounds over all calls, with as many runs per round as the slowest call allows."""
    once = measure_interleaved(calls, round_count=3, repeat_count=1)
    longest_s = max(once.median_s(name) for name in calls)
    return measure_interleaved(calls, round_count=rounds, repeat_count=repeats(longest_s))


def ratio_row(
    name: str, timings: InterleavedTimings, of: str, against: str, bar: float | None = None, note: str = ""
) -> Row:
    """Return the ratio of two medians with its interval."""
    ratio = timings.ratio(of, against)
    seen = (
        f"{timings.median_s(of) * 1e3:.3f} ms against {timings.median_s(against) * 1e3:.3f} ms; "
        f"{len(timings.seconds[of])} rounds of the least of {timings.repeat_count}, ± {timings.spread(of):.1%}"
    )
    words = "; ".join(filter(None, (note, seen)))
    return Row(name, ratio.value, "ratio", bar, against, ratio.value, (ratio.low, ratio.high), words)


def geometric_row(name: str, ratios: Sequence[Ratio], bar: float | None, against: str, note: str = "") -> Row:
    """Return the geometric mean of ratios; its interval takes the models' errors as independent."""
    if not ratios:
        return Row(name, float("nan"), "ratio", None, against, note="no model")
    logs = [math.log(one.value) for one in ratios]
    mean = math.fsum(logs) / len(logs)
    below = math.hypot(*(math.log(one.value / one.low) for one in ratios)) / len(logs)
    above = math.hypot(*(math.log(one.high / one.value) for one in ratios)) / len(logs)
    interval = math.exp(mean - below), math.exp(mean + above)
    words = "; ".join(filter(None, (note, f"{len(ratios)} models")))
    return Row(name, math.exp(mean), "ratio", bar, against, math.exp(mean), interval, words)


def program_of(
    plan: Plan, slices: Sequence[SliceModel], selection: Selection, inputs: Iterable[str], outputs: Iterable[str]
) -> Executor:
    """Return a plan's slices, loaded on the selection's devices in this process, as a session loads a bundle."""
    backends = in_process(selection.backends)
    return open_program(slices, plan, selection.by_name, backends, inputs=tuple(inputs), outputs=tuple(outputs))


def forced(path: Path, count: int, state: str) -> tuple[Normalised, Plan, tuple[SliceModel, ...]]:
    """Return a plan with slices of about equal numbers of layers, all in one state."""
    prepared = run_passes(PREPARE, State(path))
    graph, normalised = prepared.graph, prepared.normalised
    layers = tuple(ProfileLayer(each.name, each.inputs, each.outputs, nodes=each.nodes) for each in graph.layers)
    sizes = {name: info.bytes for name, info in graph.tensors.items()}
    profile = Profile("model", (Device(state),), sizes, graph.inputs, graph.outputs, layers)
    ends = np.linspace(0, len(layers), min(count, len(layers)) + 1).round().astype(int).tolist()
    slices = tuple(
        Slice(tuple(range(first, last)), state, nodes=tuple(key for one in layers[first:last] for key in one.nodes))
        for first, last in pairwise(ends)
    )
    plan = Plan("latency", "sequential", "forced", slices, (), Predicted(0.0, None, 0.0))
    return normalised, plan, slice_models(normalised.model, normalised.folder, plan, profile)
