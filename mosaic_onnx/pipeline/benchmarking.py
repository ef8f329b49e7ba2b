"""Benchmark a bundle: latencies, throughput, and each slice and transfer beside what was predicted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.discovery.registry import backends
from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.files.bundle import Bundle
from mosaic_onnx.isolation.backend import isolated
from mosaic_onnx.pipeline.open_bundle import bind_bundle, tuned_slices
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine, PlanToRun, WatchEffort
from mosaic_onnx.profiling.whole_plans.timing import time_one_plan
from mosaic_onnx.runtime.trace import Trace, chrome_trace

TRACED_COUNT = 20
"""Runs that are watched slice by slice, at most; the latencies come from runs that nothing watches."""
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class SliceTime:
    """One slice.

    Attributes:
        state: the state that runs it.
        layer_count: how many layers it holds.
        predicted_s: what the planner said.
        measured_s: median over the runs that were watched.
    """

    state: str
    layer_count: int
    predicted_s: float
    measured_s: float


@dataclass(frozen=True)
class TransferTime:
    """One tensor, all its transfers between memories together; the planner's zero-cost ones are not in its plan.

    Attributes:
        tensor: its name.
        bytes: its size.
        predicted_s: what the planner said.
        measured_s: median over the runs that were watched; 0 where the runtime copies nothing.
    """

    tensor: str
    bytes: int
    predicted_s: float
    measured_s: float


@dataclass(frozen=True)
class Benchmark:
    """The measurements of a bundle.

    Attributes:
        seconds: one figure a run.
        predicted_s: the plan's latency.
        slices: in the plan's order.
        transfers: by tensor.
        traces: the runs that were watched.
        devices: in the order of the plan.
        simulated: devices among them that are simulated: they wait for as long as they would take.
    """

    seconds: tuple[float, ...]
    predicted_s: float
    slices: tuple[SliceTime, ...]
    transfers: tuple[TransferTime, ...]
    traces: tuple[Trace, ...]
    devices: tuple[str, ...]
    simulated: tuple[str, ...] = ()

    def percentile_s(self, percent: float) -> float:
        """The latency that so many percent of the runs do not exceed."""
        return float(np.percentile(self.seconds, percent))

    @property
    def runs_per_second(self) -> float:
        """Runs one after the other, over the time that they took."""
        return len(self.seconds) / sum(self.seconds)

    def as_fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "iterations": len(self.seconds),
            "latency_s": {"min": min(self.seconds)} | {f"p{p}": self.percentile_s(p) for p in PERCENTILES},
            "predicted_s": self.predicted_s,
            "runs_per_second": self.runs_per_second,
            "slices": [asdict(one) for one in self.slices],
            "transfers": [asdict(one) for one in self.transfers],
            "traced_runs": len(self.traces),
            "simulated": list(self.simulated),
            "seconds": list(self.seconds),
        }

    def write_trace(self, path: Path) -> None:
        """The watched runs for ui.perfetto.dev or chrome://tracing, a lane a device."""
        write_atomically(path, json.dumps(chrome_trace(self.traces, self.devices)).encode())


def benchmark(bundle: Bundle, inputs: Mapping[str, Array], iterations: int, warmup: int) -> Benchmark:
    """Run a bundle many times, in a child process where a device of its could take this one with it.

    Args:
        bundle: what to run.
        inputs: the model's inputs.
        iterations: runs that are timed.
        warmup: runs before those.

    Raises:
        UsageError: a device of the bundle is not here.
        BackendError: a device failed.
    """
    bundle, plan = bind_bundle(bundle), bundle.plan
    named, candidates = {device.name: device for device in bundle.devices}, isolated(backends())
    one = PlanToRun(plan, tuned_slices(bundle, named, candidates))
    effort = WatchEffort(warmup, iterations, min(iterations, TRACED_COUNT))
    seconds, traces = time_one_plan(one, Machine(named, candidates), inputs, bundle.outputs, effort)
    devices = tuple(dict.fromkeys(device_of(one.state) for one in plan.slices))
    simulated = {device.name for device in bundle.devices if device.simulated}
    return Benchmark(
        seconds=seconds,
        predicted_s=plan.predicted.seconds,
        slices=_slice_times(plan, traces),
        transfers=_transfer_times(plan, traces),
        traces=traces,
        devices=devices,
        simulated=tuple(name for name in devices if name in simulated),
    )


def _slice_times(plan: Plan, traces: Sequence[Trace]) -> tuple[SliceTime, ...]:
    columns = zip(*(trace.slice_seconds(len(plan.slices)) for trace in traces), strict=True)
    return tuple(
        SliceTime(one.state, len(one.layers), one.end_s - one.start_s, median(column))
        for one, column in zip(plan.slices, columns, strict=True)
    )


def _transfer_times(plan: Plan, traces: Sequence[Trace]) -> tuple[TransferTime, ...]:
    """Tensors that the plan pays for or the runtime copies."""
    predicted: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for one in plan.transfers:
        predicted[one.tensor] = predicted.get(one.tensor, 0.0) + one.end_s - one.start_s
        sizes[one.tensor] = one.bytes
    measured = [_copied(trace) for trace in traces]
    for trace in traces:
        sizes |= {span.name: span.bytes for span in trace.spans if span.kind == "transfer"}
    return tuple(
        TransferTime(name, size, predicted.get(name, 0.0), median(one.get(name, 0.0) for one in measured))
        for name, size in sizes.items()
    )


def _copied(trace: Trace) -> dict[str, float]:
    """Seconds by tensor that a run moved between memories."""
    seconds: dict[str, float] = {}
    for span in trace.spans:
        if span.kind == "transfer":
            seconds[span.name] = seconds.get(span.name, 0.0) + span.seconds
    return seconds
