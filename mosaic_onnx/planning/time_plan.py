"""Time every slice of a plan while the whole plan runs.

A slice measured alone, over and over, finds its weights and tensors in the caches; between two runs of a plan the other
slices have taken them. So what a chosen slice really takes shows only when the plan runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from mosaic_onnx.backends.base import Array, Backend, SliceModel
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.isolation.backend import IsolatedBackend
from mosaic_onnx.profiling.machine import fingerprint
from mosaic_onnx.profiling.measurement_store import PROTOCOL
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine, PlanToRun
from mosaic_onnx.profiling.whole_plans.timing import trace_plan
from mosaic_onnx.runtime.trace import Trace

Cut = Callable[[Plan], Sequence[SliceModel]]
"""The plan's slices as they would be delivered."""
QUIET_SHARE = 0.25
"""The runs that took least say what a slice takes when nothing disturbs it: this share of all."""


@dataclass(frozen=True)
class Effort:
    """The limits of timing a plan.

    Attributes:
        seconds: no run starts after it, but ``min_runs`` do.
        min_runs: at least so many.
        max_runs: at most so many.
    """

    seconds: float = 0.4
    min_runs: int = 2
    max_runs: int = 100


@dataclass(frozen=True)
class PlanTimer:
    """Run plans and time their slices.

    Attributes:
        cut: makes a plan's slices.
        devices: by name.
        backends: by name.
        inputs: the model's inputs.
        outputs: names of the model's outputs.
        model_sha256: of the model's file.
        versions: of backends, providers and drivers.
        cache: where figures are kept; None measures everything anew.
        effort: how long to run.
    """

    cut: Cut
    devices: Mapping[str, Device]
    backends: Mapping[str, Backend]
    inputs: Mapping[str, Array]
    outputs: Sequence[str]
    model_sha256: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    cache: Cache | None = None
    effort: Effort = field(default_factory=Effort)

    def __call__(self, plan: Plan) -> tuple[float, ...]:
        """Time a plan's slices.

        Returns:
            [slice] seconds; the copies of the model's inputs and outputs count for the first and the last. Empty where
            that says nothing: slices side by side, devices that are simulated or may return before their work is done,
            or a plan that does not run (delivery tells that).
        """
        if plan.schedule != "sequential":
            return ()
        key = self._key(plan)
        known = None if self.cache is None else self.cache.lookup(key)
        if known is not None:
            return tuple(map(float, known))
        if not all(self._is_clear(self.devices[device_of(one.state)]) for one in plan.slices):
            return ()
        try:
            taken = self._run(plan)
        except BackendError:
            return ()
        if self.cache is not None:
            self.cache.store(key, list(taken))
        return taken

    def _is_clear(self, device: Device) -> bool:
        """True where a slice's call takes as long as the slice: not on other machines, nor where work goes on."""
        if device.simulated or device.host:
            return False
        backend = self.backends[device.backend]
        try:
            if isinstance(backend, IsolatedBackend):
                return not backend.has_own_memory(device)
            return backend.memory(device) is None
        except BackendError:  # a device that fails here is found out where the plan runs
            return False

    def _run(self, plan: Plan) -> tuple[float, ...]:
        machine = Machine(self.devices, self.backends)
        traces = trace_plan(PlanToRun(plan, self.cut(plan)), machine, self.inputs, self.outputs, **asdict(self.effort))
        return quiet_seconds(traces, len(plan.slices))

    def _key(self, plan: Plan) -> dict[str, object]:
        """The facts that the figures depend on."""
        places = {device_of(one.state): self.devices[device_of(one.state)] for one in plan.slices}
        return {
            "protocol": PROTOCOL,
            "what": "rehearsal",
            "model": self.model_sha256,
            "inputs": {name: [str(array.dtype), list(array.shape)] for name, array in self.inputs.items()},
            "slices": [[one.state, list(one.nodes)] for one in plan.slices],
            "devices": {name: [one.backend, one.precision, dict(one.options)] for name, one in places.items()},
            "versions": dict(self.versions),
            "machine": dict(fingerprint()),
        }


def quiet_seconds(traces: Sequence[Trace], slice_count: int) -> tuple[float, ...]:
    """[slice] mean seconds over the runs that took least; transfers between memories are not in it."""
    count = max(1, round(QUIET_SHARE * len(traces)))
    quiet = sorted(traces, key=lambda trace: trace.seconds)[:count]
    taken = [_with_ends(trace, trace.slice_seconds(slice_count)) for trace in quiet]
    return tuple(sum(each) / count for each in zip(*taken, strict=True))


def _with_ends(trace: Trace, slice_s: Sequence[float]) -> list[float]:
    """[slice] seconds with the copies of the model's inputs in the first and of its outputs in the last."""
    seconds = list(slice_s)
    seconds[0] += sum(span.seconds for span in trace.spans if span.kind == "input")
    seconds[-1] += sum(span.seconds for span in trace.spans if span.kind == "output")
    return seconds
