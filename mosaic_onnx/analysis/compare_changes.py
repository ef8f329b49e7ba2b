"""Plans of the machine as it is and of machines that a user supposes, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from mosaic_onnx.analysis.changes import parse_changes, with_change
from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.cost_tables.constrain import constrain
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Objective, Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.core.request_constraints import meets
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planning.profile_plan import plan_of_slices, plan_profile, proposal_of


@dataclass(frozen=True)
class Supposed:
    """The plan of a machine that is supposed.

    Attributes:
        word: the change, as the user wrote it; empty for the machine as it is.
        plan: the best plan found; None where none satisfies the constraints, or none was found.
        same_slices: the objective of the plan of today's machine, run unchanged on this one; None where it cannot run.
        change: relative change of the objective against today's plan; None without a plan.
        assumed: what was assumed, in words.
    """

    word: str
    plan: Plan | None
    same_slices: float | None
    change: float | None
    assumed: str = ""


def objective_value(plan: Plan, objective: Objective) -> float:
    """Return what a plan is best at: seconds, joules or joule-seconds; 0 where the profile has no joules."""
    figures = plan.predicted
    joules = figures.joules or 0.0
    by_name = {
        "latency": figures.seconds,
        "throughput": figures.interval_seconds,
        "energy": joules,
        "edp": joules * figures.seconds,
    }
    return by_name[objective]


def compare_changes(
    profile: Profile, words: Sequence[str], request: Request, constraints: Constraints | None = None
) -> tuple[Supposed, ...]:
    """Return the plan of the machine as it is, and of each supposed one, in the order of the words.

    Each gets the same request and time. Where the search finds no better plan for a supposed machine than today's
    slices, today's slices are its plan, so that no change looks worse for want of time.

    Args:
        profile: of the machine as it is.
        words: see ``changes``; one of them may join several changes by commas.
        request: what is asked of each.
        constraints: what all must keep.

    Raises:
        InfeasibleError: today's machine has no plan.
        UsageError: a word is no change, or it changes nothing.
    """
    constraints = constraints or Constraints()
    parsed = [(word, parse_changes(word, profile)) for word in words]
    base = plan_profile(profile, request, constraints)
    now = objective_value(base, request.objective)
    found = [Supposed("", base, now, 0.0)]
    for word, changes in parsed:
        changed, assumed = profile, []
        for change in changes:
            changed, said = with_change(changed, base, change)
            assumed += [said] if said else []
        found.append(_supposed(word, changed, base, request, constraints, "; ".join(assumed)))
    return tuple(found)


def _supposed(
    word: str, profile: Profile, base: Plan, request: Request, constraints: Constraints, assumed: str
) -> Supposed:
    """Plan for a supposed machine; today's slices are a candidate."""
    now = objective_value(base, request.objective)
    candidates = []
    same = _same_slices(profile, base, request, constraints)
    if same is not None:
        candidates.append(same)
    with suppress(InfeasibleError):
        candidates.append(plan_profile(profile, request, constraints))
    if not candidates:
        return Supposed(word, None, None, None, assumed)
    best = min(reversed(candidates), key=lambda plan: objective_value(plan, request.objective))
    return Supposed(
        word,
        best,
        None if same is None else objective_value(same, request.objective),
        objective_value(best, request.objective) / now - 1 if now else None,
        assumed,
    )


def _same_slices(profile: Profile, base: Plan, request: Request, constraints: Constraints) -> Plan | None:
    """Return today's slices on a supposed machine; None where they break a constraint there."""
    try:
        constrained = constrain(profile, constraints)
        table, proposal = cost_table(constrained), proposal_of(constrained, base)
        meets(table, request, proposal, simulate(table, proposal, request.schedule))
        return plan_of_slices(constrained, request, base.method, proposal, table)
    except InfeasibleError:
        return None
