"""Predictions put right by what the contest measured."""

from __future__ import annotations

from dataclasses import replace

from mosaic_onnx.core.plans import Plan, Slice
from mosaic_onnx.core.profiles import MeasuredSlice, Profile
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.profile_plan import plan_of_slices, proposal_of

IN_CONTEST = "in_contest"
"""Meta key of a slice whose seconds come from a contest: its share of what the whole plan took."""


def corrected(profile: Profile, plan: Plan, measured_s: float) -> tuple[Profile, Plan] | None:
    """Return the profile and plan with the slices' seconds scaled, so that the plan is predicted to take what it took.

    Args:
        profile: what was measured of layers and slices.
        plan: what was delivered.
        measured_s: what it took as a whole.

    Returns:
        None where slices cannot be corrected one by one: they run side by side, or are no neighbours in the list.
    """
    execution_s = sum(one.end_s - one.start_s for one in plan.slices)
    rest_s = plan.predicted.seconds - execution_s
    if plan.schedule != "sequential" or not all(map(_is_stretch, plan.slices)):
        return None
    if execution_s <= 0 or measured_s <= rest_s:
        return None
    share = (measured_s - rest_s) / execution_s
    known = {(one.first, one.last, one.state): one for one in profile.segments}
    for one in plan.slices:
        span = one.layers[0], one.layers[-1], one.state
        before = known.get(span, MeasuredSlice(*span, 0.0))
        known[span] = replace(before, seconds=(one.end_s - one.start_s) * share, meta={**before.meta, IN_CONTEST: True})
    profile = replace(profile, segments=tuple(known.values()))
    request = Request(objective=plan.objective, schedule=plan.schedule)
    made = plan_of_slices(profile, request, plan.method, proposal_of(profile, plan))
    made = replace(made, constraints=plan.constraints, meta=plan.meta)
    if plan.bound is None or share < 1:  # what was proved before does not hold for costs that are lower now
        return profile, made
    gap = made.predicted.seconds / plan.bound.value - 1 if plan.objective == "latency" and plan.bound.value else None
    return profile, replace(made, bound=plan.bound, gap=gap)


def _is_stretch(one: Slice) -> bool:
    return one.layers == tuple(range(one.layers[0], one.layers[-1] + 1))
