"""Pass: plan, measure the slices that were chosen, plan again with what they really take.

A sum of layers is not what a slice takes: cuts lose fusions and change layouts, and a slice's own call costs something.
Two things are learned in every round: what the chosen slices take as a whole (``segments``), and from them what a cut
costs on each device (``slice_seconds``: the median of measured less the sum of layers), for slices not yet measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from mosaic_onnx.devices import Device, device_of
from mosaic_onnx.passes.plan import plan_profile
from mosaic_onnx.passes.segments import Choice, SegmentsMeasured
from mosaic_onnx.planner.request import Request
from mosaic_onnx.plans import Plan, Slice
from mosaic_onnx.profiles import Profile, Segment

MeasureSlices = Callable[[Sequence[Choice]], SegmentsMeasured]


@dataclass(frozen=True)
class Refined:
    """Where the rounds ended.

    Attributes:
        profile: with the segments and cut costs that were learned.
        plan: the last plan.
        round_count: how many rounds measured something.
        is_settled: every slice of the plan that can be measured was.
    """

    profile: Profile
    plan: Plan
    round_count: int
    is_settled: bool


@dataclass(frozen=True)
class Refine:
    """Feeds measured slices back into the plan.

    Attributes:
        measure: measures slices whole.
        request: what the plan is best at.
        round_limit: plans that are measured at most.
    """

    measure: MeasureSlices
    request: Request
    round_limit: int = 5

    def __call__(self, profile: Profile) -> Refined:
        """Plan and measure until the plan's slices are all measured, or the rounds are used up.

        Raises:
            InfeasibleError: no plan satisfies the constraints.
        """
        refused: set[Choice] = set()
        for done in range(self.round_limit):
            plan = plan_profile(profile, self.request)
            wanted = [choice for choice in unmeasured(profile, plan) if choice not in refused]
            if not wanted:
                return Refined(profile, plan, done, True)
            found = self.measure(wanted)
            refused |= set(wanted) - {(one.first, one.last, one.state) for one in found.segments}
            profile = learn(profile, found.segments)
        plan = plan_profile(profile, self.request)
        return Refined(profile, plan, self.round_limit, not unmeasured(profile, plan))


def unmeasured(profile: Profile, plan: Plan) -> list[Choice]:
    """Slices of a plan that a segment could stand for and none does."""
    known = {(one.first, one.last, one.state) for one in profile.segments}
    simulated = {device.name for device in profile.devices if device.simulated}
    choices = [
        (one.layers[0], one.layers[-1], one.state)
        for one in plan.slices
        if _is_stretch(one) and device_of(one.state) not in simulated
    ]
    return [choice for choice in dict.fromkeys(choices) if choice not in known]


def _is_stretch(one: Slice) -> bool:
    return one.layers == tuple(range(one.layers[0], one.layers[-1] + 1))


def learn(profile: Profile, segments: Sequence[Segment]) -> Profile:
    """The profile with new segments, and with each device's cut cost as all of its segments show it."""
    learned = replace(profile, segments=(*profile.segments, *segments))
    return replace(learned, devices=tuple(_with_cut_cost(learned, device) for device in profile.devices))


def _with_cut_cost(profile: Profile, device: Device) -> Device:
    """The device whose ``slice_seconds`` is the median excess of its measured slices; never below nothing."""
    whole = len(profile.layers) - 1
    excess = [
        one.seconds - sum(cost.seconds for cost in costs if cost is not None)
        for one in profile.segments
        if device_of(one.state) == device.name and (one.first, one.last) != (0, whole)
        for costs in [[layer.cost.get(one.state) for layer in profile.layers[one.first : one.last + 1]]]
        if None not in costs
    ]
    return replace(device, slice_seconds=max(0.0, median(excess))) if excess else device
