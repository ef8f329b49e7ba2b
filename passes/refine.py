"""Pass: plan, measure the slices that were chosen, plan again with what they really take.

A sum of layers is not what a slice takes: cuts lose fusions and change layouts, and a slice's own call costs something.
Two things are learned in every round: what the chosen slices take as a whole (``segments``), and from them what a cut
costs on each device (``slice_seconds``: the median of measured less the sum of layers), for slices not yet measured.
A slice may fail, or compute something else, although each of its layers alone does not: then the layer that brings it
about is taken from the device.
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
        request: what the plan is best at; the first plan may take its time limit, each later one a share of it.
        round_limit: plans that are measured at most, those with a refused slice not counted.
        refusal_limit: plans with a refused slice that are given up at most.
    """

    measure: MeasureSlices
    request: Request
    round_limit: int = 5
    refusal_limit: int = 24

    def __call__(self, profile: Profile) -> Refined:
        """Plan and measure until the plan's slices are all measured, or the rounds are used up.

        Raises:
            InfeasibleError: no plan satisfies the constraints.
        """
        unmeasurable: set[Choice] = set()
        done = refused_count = 0
        while done - refused_count < self.round_limit and refused_count < self.refusal_limit:
            plan = plan_profile(profile, self.request if not done else self._later)
            wanted = [choice for choice in unmeasured(profile, plan) if choice not in unmeasurable]
            if not wanted:
                return Refined(profile, plan, done, True)
            found = self.measure(wanted)
            done += 1
            ran = {(one.first, one.last, one.state) for one in found.segments}
            unmeasurable |= set(wanted) - ran - set(found.reasons)
            profile = learn(profile, found.segments)
            for choice, reason in found.reasons.items():
                profile = without(profile, self._culprit(choice), choice[2], reason)
            refused_count += bool(found.reasons)
        plan = plan_profile(profile, self._later)
        return Refined(profile, plan, done, not unmeasured(profile, plan))

    @property
    def _later(self) -> Request:
        """The request, with so little time that all later rounds together take about as long as the first plan."""
        return replace(self.request, time_limit_s=self.request.time_limit_s / max(1, self.round_limit))

    def _culprit(self, choice: Choice) -> int:
        """The first layer with which a refused slice, begun where it begins, is refused."""
        first, last, state = choice
        least = first
        while least < last:
            middle = (least + last) // 2
            if self.measure([(first, middle, state)]).reasons:
                last = middle
            else:
                least = middle + 1
        return last


def without(profile: Profile, layer: int, state: str, reason: str) -> Profile:
    """The profile in which a state cannot run a layer; what was measured of slices that hold it goes too."""
    one = profile.layers[layer]
    cost = {name: known for name, known in one.cost.items() if name != state}
    told = f"together with the layers before it: {reason}"
    layers = list(profile.layers)
    layers[layer] = replace(one, cost=cost, reasons={**one.reasons, state: told})
    kept = [each for each in profile.segments if each.state != state or not each.first <= layer <= each.last]
    return replace(profile, layers=tuple(layers), segments=tuple(kept))


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
