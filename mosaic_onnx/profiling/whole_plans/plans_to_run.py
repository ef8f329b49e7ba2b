"""Plans that are run whole to be measured, the machine that runs them, and how long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mosaic_onnx.backends.base import Backend, SliceModel
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.isolation.backend import IsolatedBackend, address_of
from mosaic_onnx.isolation.kept_child import KeptChild
from mosaic_onnx.profiling.interleaved import EarlyStop, InterleavedTimings

ACTIONS = "mosaic_onnx.profiling.whole_plans.actions"
"""The module of what a child does with plans."""


@dataclass(frozen=True)
class PlanToRun:
    """A plan and its slices; ``overrides`` are devices that it runs on with other options, by name."""

    plan: Plan
    slices: Sequence[SliceModel]
    overrides: Mapping[str, Device] = field(default_factory=dict)

    @property
    def devices(self) -> set[str]:
        """Names of the devices that it uses."""
        return {device_of(state) for state in (*(one.state for one in self.plan.slices), *self.plan.replicas)}


@dataclass(frozen=True)
class Machine:
    """The devices and backends, by name, that run plans."""

    devices: Mapping[str, Device]
    backends: Mapping[str, Backend]

    def isolates(self, plans: Sequence[PlanToRun]) -> bool:
        """Tell whether a device of the plans must not run in this process."""
        return any(self._is_isolated(self.devices[name]) for plan in plans for name in plan.devices)

    def _is_isolated(self, device: Device) -> bool:
        backend = self.backends.get(device.backend)
        return isinstance(backend, IsolatedBackend) and backend.isolates(device)

    @contextmanager
    def with_child(self) -> Iterator[None]:
        """Keep a process inside the context that plans run in, where a device must be isolated; it starts at once."""
        kept = self.kept_child
        if kept is None or not any(map(self._is_isolated, self.devices.values())):
            yield
            return
        kept.start((ACTIONS,), sorted({device.backend for device in self.devices.values()}))
        try:
            yield
        finally:
            kept.close()

    @property
    def kept_child(self) -> KeptChild | None:
        """The child process that its isolated backends share; None where no backend is isolated."""
        isolated = [one for one in self.backends.values() if isinstance(one, IsolatedBackend)]
        return isolated[0].kept_child if isolated else None

    def addresses(self) -> dict[str, str]:
        """Return the address of each backend, by which a child imports it."""
        found = {}
        for name, backend in self.backends.items():
            address = backend.address if isinstance(backend, IsolatedBackend) else address_of(backend)
            if address is not None:
                found[name] = address
        return found


@dataclass(frozen=True)
class Rounds:
    """The limits of running plans in turn.

    Attributes:
        round_count: rounds that are wanted.
        budget_s: no round starts after it, but three always run.
        stop: when the comparison is decided earlier; None for never.
        repeat_count: runs of a plan in a round, of which the least counts; at least so many.
        repeat_s: the runs of the slowest plan in a round take about so long together: short plans run more often.
    """

    round_count: int
    budget_s: float
    stop: EarlyStop | None = None
    repeat_count: int = 3
    repeat_s: float = 0.0


@dataclass(frozen=True)
class RateEffort:
    """The limits of the measurement.

    Attributes:
        round_count: rounds; in each, every plan is measured once.
        seconds: of one measurement.
    """

    round_count: int
    seconds: float


@dataclass(frozen=True)
class TimedPlans:
    """The result of timing some plans.

    Attributes:
        timings: interleaved figures of those that ran; None where none did.
        failed: why the others did not, by name.
    """

    timings: InterleavedTimings | None
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WatchEffort:
    """The numbers of runs of a plan: first untimed, then timed, then watched slice by slice."""

    warmup_count: int
    timed_count: int
    watched_count: int
