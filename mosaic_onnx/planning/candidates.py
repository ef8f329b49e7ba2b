"""The candidates for delivery: the plan, and each device that runs the whole model alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mosaic_onnx.backends.base import HasDefault
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.planner.core.request import PlacedSlice, Request
from mosaic_onnx.planning.feedback import unmeasured
from mosaic_onnx.planning.profile_plan import plan_of_slices
from mosaic_onnx.planning.slice_cutter import Cut, Slices
from mosaic_onnx.profiling.measure_slices import Choice, SegmentsMeasured
from mosaic_onnx.rewriting.rewrite import Canonical

PLAN = "plan"
"""The name of the plan among the candidates; the others bear their device's name."""


@dataclass(frozen=True)
class Candidate:
    """Something that could be delivered.

    Attributes:
        name: ``plan``, or the device that runs the whole model.
        plan: its plan.
        cut: gives the plan's slices, portable and tuned; asked once, and only for what runs: it copies the model.
        partition: gives the plan's partitioned model; asked once, and only for what is delivered.
        devices: by name, devices that are configured otherwise than the selection has them.
        is_yardstick: it is what a user runs today: the runtime's own default on the whole model.
    """

    name: str
    plan: Plan
    cut: Callable[[Plan], tuple[Slices, Slices]]
    partition: Callable[[Plan], Canonical] | None = None
    devices: Mapping[str, Device] = field(default_factory=dict)
    is_yardstick: bool = False

    @cached_property
    def _cut(self) -> Cut:
        return Cut(*self.cut(self.plan))

    @property
    def slices(self) -> Slices:
        """The plan's slices, in its order."""
        return self._cut.portable

    @property
    def tuned(self) -> Slices:
        """The same as they run best on this machine (``rewriting.joint_optimise``)."""
        return self._cut.tuned

    @property
    def is_tuned(self) -> bool:
        """True where a slice was optimised anew for this machine."""
        return any(one.is_optimised for one in self.tuned)

    @cached_property
    def canonical(self) -> Canonical | None:
        """The partitioned model as one file; None where there is nothing to make it from."""
        return None if self.partition is None else self.partition(self.plan)


def yardsticks(singles: Sequence[Candidate], selection: Selection) -> tuple[Candidate, ...]:
    """Return what users run today beside the single devices: their runtimes' defaults.

    A device whose threads or cores the user chose has none: its default would take cores that it may not have.
    """
    found: list[Candidate] = []
    for one in singles:
        name = device_of(one.plan.slices[0].state)
        device = selection.by_name[name]
        backend = selection.backends.get(device.backend)
        default = backend.runtime_default(device) if isinstance(backend, HasDefault) else None
        if default is not None:
            found.append(
                Candidate(
                    f"{name}, runtime's default",
                    one.plan,
                    cut=lambda plan, one=one: (one.slices, one.slices),
                    partition=one.partition,
                    devices={name: default},
                    is_yardstick=True,
                )
            )
    return tuple(found)


def worth_running(candidates: Sequence[Candidate], most: float) -> tuple[Candidate, ...]:
    """Return the candidates that a short contest runs, in their order.

    Left out are single devices that are predicted to take more than ``most`` times what the best one takes, and what
    their runtimes do by default; what ONNX Runtime does by default runs always, since users hear of it.
    """
    singles = [one for one in candidates if one.name != PLAN and not one.is_yardstick]
    limit_s = most * min((one.plan.predicted.seconds for one in singles), default=float("inf"))
    return tuple(
        one for one in candidates if one.name == PLAN or one.plan.predicted.seconds <= limit_s or _is_usual(one)
    )


def one_of_each(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates without those that a single device, or its runtime's default, stands for.

    ONNX Runtime's default, which users hear of, stands for its device; other devices stand for their defaults.
    """
    stood_for = {name for one in candidates if _is_usual(one) for name in one.devices}
    return tuple(one for one in candidates if one.name not in stood_for and (not one.is_yardstick or _is_usual(one)))


def _is_usual(one: Candidate) -> bool:
    """Return whether a candidate is what ONNX Runtime does by default."""
    return any(device.backend == "onnxruntime" for device in one.devices.values())


def single_device_plan(profile: Profile, device: str, like: Plan, table: CostTable | None = None) -> Plan | None:
    """Return the whole model on one device at its highest level; None where it lacks a layer or has no room.

    Args:
        profile: what was measured.
        device: its name.
        like: the plan whose objective it is compared under.
        table: the profile's cost table, where it is made already.
    """
    state = max(index for index, name in enumerate(profile.states) if device_of(name) == device)
    whole = (PlacedSlice(tuple(range(len(profile.layers))), state),)
    try:
        return plan_of_slices(profile, Request(objective=like.objective), f"single device {device}", whole, table)
    except InfeasibleError:
        return None


def worth_cutting(profile: Profile, plan: Plan, request: Request, least_gain: float, table: CostTable) -> Plan:
    """Return a plan, or the best single device where a cut is not predicted to gain enough to be tried.

    Predictions of simulated devices are exact: there every gain is taken.

    Args:
        profile: what was measured.
        plan: the planner's answer.
        request: what was asked; with limits or a demand for slices, the plan stays.
        least_gain: share of the best single device's seconds that the plan must save.
        table: the profile's cost table.
    """
    is_limited = request.deadline_s is not None or request.budget_j is not None or request.max_error is not None
    is_exact = all(device.simulated for device in profile.devices)
    if is_exact or not least_gain or request.objective != "latency" or is_limited or request.min_slice_count > 1:
        return plan
    alone = [single_device_plan(profile, device.name, plan, table) for device in profile.devices]
    best = min((one for one in alone if one is not None), key=lambda one: one.predicted.seconds, default=plan)
    return plan if plan.predicted.seconds <= (1 - least_gain) * best.predicted.seconds else best


def single_device_plans(
    profile: Profile,
    like: Plan,
    devices: Sequence[str],
    table: CostTable,
    measure: Callable[[tuple[Choice, ...]], SegmentsMeasured],
    note: Callable[[str], None],
) -> dict[str, Plan]:
    """Return the plans of devices that run the whole model; one that runs every layer may still fail at all.

    Args:
        profile: what was measured.
        like: the plan whose objective they are compared under.
        devices: names.
        table: the profile's cost table.
        measure: measures slices whole.
        note: told which device is left out, and why.
    """
    plans = {}
    for device in devices:
        alone = single_device_plan(profile, device, like, table)
        if alone is None:
            if reason := _why_not_whole(profile, device):
                note(f"{device} alone is left out: {reason}")
            continue
        untried = tuple(unmeasured(profile, alone))
        refused = measure(untried).reasons if untried else {}
        if refused:
            note(f"{device} alone is left out: {next(iter(refused.values()))}")
        else:
            plans[device] = alone
    return plans


def _why_not_whole(profile: Profile, name: str) -> str:
    """Return the first layer that a device refuses, and why; empty where none is known, or a description says so."""
    device = next(one for one in profile.devices if one.name == name)
    refusals = (
        f"{layer.name}: {layer.reasons[state]}"
        for layer in profile.layers
        for state in (*device.states, name)
        if state in layer.reasons
    )
    return "" if device.simulated else next(refusals, "")
