"""Plan, measure the slices that were chosen, plan again with what they really take.

A sum of layers is not what a slice takes: cuts lose fusions and change layouts, and a slice's own call costs something.
Two things are learned in every round: what the chosen slices take as a whole (``segments``), and from them what a cut
costs on each device (``slice_seconds``: the median of measured less the sum of layers), for slices not yet measured.
A plan whose slices all run alone is then run as a whole, since slices cost more in each other's company.
A slice may fail, or compute something else, although each of its layers alone does not: then the layer that brings it
about is taken from the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Plan, Slice
from mosaic_onnx.core.profiles import MeasuredSlice, Profile
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.calibrate import IN_PLAN, learn
from mosaic_onnx.planning.planning_time import PlanningTime
from mosaic_onnx.planning.profile_plan import plan_of_slices, plan_profile, proposal_of, without_idle_cuts
from mosaic_onnx.profiling.measure_slices import Choice, SegmentsMeasured

MeasureSlices = Callable[[Sequence[Choice]], SegmentsMeasured]
MakePlan = Callable[[Profile, Request], Plan]
"""The best plan of a profile."""
RunPlan = Callable[[Plan], Sequence[float]]
"""[slice] seconds while the whole plan runs (``time_plan``); empty where there is nothing to learn."""
Places = tuple[tuple[tuple[int, ...], str], ...]
"""[slice] its layers and its state."""
LATER_SHARE = 0.5
"""Share of the time left that a plan leaves to those that may follow it."""


def make_plan(profile: Profile, request: Request) -> Plan:
    """Return the planner's answer, without cuts inside one device."""
    return without_idle_cuts(profile, request, plan_profile(profile, request))


@dataclass(frozen=True)
class Planned:
    """A plan, and what is known after making it.

    Attributes:
        profile: with the segments and cut costs that were learned.
        plan: the last plan.
    """

    profile: Profile
    plan: Plan


@dataclass(frozen=True)
class Refined(Planned):
    """The result of the rounds.

    Attributes:
        round_count: how many rounds measured something.
        is_settled: every slice of the plan that can be measured was.
    """

    round_count: int
    is_settled: bool


@dataclass(frozen=True)
class FeedbackLoop:
    """Feed measured slices back into the plan.

    Attributes:
        measure: measures slices whole.
        request: what the plan is best at; its time limit holds for all plans of the loop together.
        run: times the slices of a plan while it runs; None leaves that out.
        round_limit: plans whose slices are measured at most, those with a refused slice not counted.
        run_limit: plans that are run at most.
        refusal_limit: plans with a refused slice that are given up at most.
        plan: makes plans.
        limit_s: no round starts after it; the first always does.
        clock: tells the time, in seconds.
        planning: counts what the plans take.
    """

    measure: MeasureSlices
    request: Request
    run: RunPlan | None = None
    round_limit: int = 5
    run_limit: int = 6
    refusal_limit: int = 24
    plan: MakePlan = make_plan
    limit_s: float = float("inf")
    clock: Callable[[], float] = time.monotonic
    planning: PlanningTime = field(default_factory=PlanningTime)

    def __call__(self, profile: Profile) -> Refined:
        """Plan and measure until the plan's slices are all measured, or the rounds are used up.

        A plan whose slices are not neighbours in the list of layers cannot be measured slice by slice: the first such
        plan is run, and from then on plans in list order are sought; the better of the two is the answer.

        Raises:
            InfeasibleError: no plan satisfies the constraints.
        """
        seen = _Seen(profile, self.request, until_s=self.planning.spent_s + self.request.time_limit_s)
        end_s = self.clock() + self.limit_s
        while seen.round_count < self.round_limit and seen.refused_count < self.refusal_limit:
            if seen.round_count and self.clock() > end_s:
                plan = self._plan(seen, is_last=True)
                break
            plan = self._plan(seen)
            wanted = [choice for choice in unmeasured(seen.profile, plan) if choice not in seen.unmeasurable]
            if wanted and self._refused(seen, wanted):
                continue
            if self._run(seen, plan):
                unlisted = seen.is_listable and not _is_listed(plan)
                seen.request = replace(seen.request, in_list_order=unlisted or seen.request.in_list_order)
            elif not wanted:
                break
        else:
            plan = self._plan(seen, is_last=True)
        plan = seen.best(plan)
        is_settled = seen.unmeasurable.issuperset(unmeasured(seen.profile, plan))
        return Refined(seen.profile, plan, seen.round_count, is_settled)

    def _plan(self, seen: _Seen, *, is_last: bool = False) -> Plan:
        """Return the next plan; in any order again where none in list order can be.

        Raises:
            InfeasibleError: no plan satisfies the constraints.
        """
        try:
            return self._timed_plan(seen, is_last)
        except InfeasibleError:
            if not seen.request.in_list_order:
                raise
        seen.is_listable = False
        seen.request = replace(seen.request, in_list_order=False)
        return self._timed_plan(seen, is_last)

    def _timed_plan(self, seen: _Seen, is_last: bool) -> Plan:
        """Return the next plan; it may take what is left of the loop's time, or leave a share of that to later ones."""
        left_s = max(0.0, seen.until_s - self.planning.spent_s)
        share_s = left_s if is_last else (1 - LATER_SHARE) * left_s
        with self.planning.counted():
            return self.plan(seen.profile, replace(seen.request, time_limit_s=share_s))

    def _refused(self, seen: _Seen, wanted: Sequence[Choice]) -> bool:
        """Measure slices; a layer that makes its slice fail is taken from the device. Whether there was one."""
        found = self.measure(wanted)
        ran = {(one.first, one.last, one.state) for one in found.segments}
        seen.unmeasurable |= set(wanted) - ran - set(found.reasons)
        seen.profile = learn(seen.profile, found.segments)
        for choice, reason in found.reasons.items():
            seen.profile = without(seen.profile, self._culprit(choice), choice[2], reason)
        seen.refused_count += bool(found.reasons)
        seen.round_count += not found.reasons
        return bool(found.reasons)

    def _run(self, seen: _Seen, plan: Plan) -> bool:
        """Run a plan for the first time; whether anything was learned from it."""
        places = _places(plan)
        if len(plan.slices) == 1:  # alone or in the plan, that is the same run
            return False
        if self.run is None or places in seen.runs or len(seen.runs) >= self.run_limit:
            return False
        taken = self.run(plan)
        if not taken:
            return False
        plan = _foreseen(seen.profile, plan)
        seen.runs[places] = Run(plan, sum(taken) - sum(one.end_s - one.start_s for one in plan.slices))
        found = [
            MeasuredSlice(*_choice(one), each_s, meta={IN_PLAN: True})
            for one, each_s in zip(plan.slices, taken, strict=True)
            if _is_stretch(one)
        ]
        seen.profile = learn(seen.profile, found)
        return True

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


@dataclass(frozen=True)
class Run:
    """A plan that was run.

    Attributes:
        plan: as it was predicted then.
        excess_s: what its slices took more than was predicted.
    """

    plan: Plan
    excess_s: float

    @property
    def seconds(self) -> float:
        """The plan's seconds, the measured excess included."""
        return self.plan.predicted.seconds + self.excess_s


@dataclass
class _Seen:
    """The findings of the rounds so far.

    Attributes:
        profile: with what was learned.
        request: what the next plan is asked for.
        is_listable: plans in list order may be asked for.
        unmeasurable: slices that nothing can be said of.
        runs: the plans that were run, by their slices.
        round_count: plans whose slices were measured and all ran.
        refused_count: plans with a refused slice.
        until_s: what the planning's clock may come to.
    """

    profile: Profile
    request: Request
    until_s: float
    is_listable: bool = True
    unmeasurable: set[Choice] = field(default_factory=set)
    runs: dict[Places, Run] = field(default_factory=dict)
    round_count: int = 0
    refused_count: int = 0

    def best(self, last: Plan) -> Plan:
        """The last plan; for latency, one that took less when it was run than the last one promises.

        Where the last plan was not run although others were, its slices promise too much, and it does not count.
        """
        runs = {places: run for places, run in self.runs.items() if _still_runs(self.profile, run.plan)}
        if not runs or last.objective != "latency":
            return last
        best = min(runs.values(), key=lambda run: run.seconds)
        is_known = len(last.slices) == 1 or _places(last) in runs
        if is_known and last.predicted.seconds <= best.seconds:
            return last
        return _foreseen(self.profile, best.plan)


def _foreseen(profile: Profile, plan: Plan) -> Plan:
    """A plan as it is predicted with what is known now."""
    request = Request(objective=plan.objective, schedule=plan.schedule)
    again = plan_of_slices(profile, request, plan.method, proposal_of(profile, plan))
    return replace(again, constraints=plan.constraints, meta=plan.meta)


def _still_runs(profile: Profile, plan: Plan) -> bool:
    """True where every layer of the plan still runs on its device."""
    return all(profile.layers[layer].cost.get(one.state) is not None for one in plan.slices for layer in one.layers)


def _places(plan: Plan) -> Places:
    """The slices and their states."""
    return tuple((one.layers, one.state) for one in plan.slices)


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
    stretches = [one for one in plan.slices if _is_stretch(one) and device_of(one.state) not in simulated]
    return [choice for choice in dict.fromkeys(map(_choice, stretches)) if choice not in known]


def _choice(one: Slice) -> Choice:
    return one.layers[0], one.layers[-1], one.state


def _is_listed(plan: Plan) -> bool:
    return all(map(_is_stretch, plan.slices))


def _is_stretch(one: Slice) -> bool:
    return one.layers == tuple(range(one.layers[0], one.layers[-1] + 1))
