"""The front of seconds and joules: all plans that no other plan beats in both.

Exact along chains without caps on whole devices, where the graph is small enough to be searched whole, and where
placements are plans (no overheads, caps, segments, switches) and few enough. Else the best plans found for many
weights, with a lower bound for each.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.planner.chain.label_setting import best_by_labels, labels_apply
from mosaic_onnx.planner.chain.pareto import chain_front
from mosaic_onnx.planner.core.deadline import TimeUpError, part_of
from mosaic_onnx.planner.core.infeasibility import check_possible
from mosaic_onnx.planner.core.lagrangian_hull import Asked, Hull, everywhere
from mosaic_onnx.planner.core.objective import Rank, has_joules, rank_of
from mosaic_onnx.planner.core.objective_weights import Weights
from mosaic_onnx.planner.core.request import TOLERANCE, Answer, Proposal, Request
from mosaic_onnx.planner.core.simulate import Timeline, simulate
from mosaic_onnx.planner.exhaustive.method import front_within
from mosaic_onnx.planner.search.initial_solutions import implied_plans, one_state_plans
from mosaic_onnx.planner.search.moves import improve
from mosaic_onnx.planner.sequential.bounds import bounded, hull_of
from mosaic_onnx.planner.sequential.constrained_bounds import (
    chain_uncovered,
    front_of_placements,
    on_one_order,
    thinned_front,
)
from mosaic_onnx.planner.sequential.method import SMALL_LAYERS, TRANSITIONS

FRONT_SHARE = 0.85
"""Of the time limit, what the front gets; judging its plans and the bound need the rest."""
PLACEMENTS_SHARE = 0.5
"""Of that, what the front of all placements may take, which is exact."""
EXPLORED_SHARE = 0.75
"""Of what it leaves, what the hull of weighed sums gets; then its plans are judged and improved."""
BOUND_SHARE = 0.5
"""Of what the front leaves, what the bound of the objective alone gets."""


@dataclass(frozen=True)
class FrontPlan:
    """One plan of the front."""

    proposal: Proposal
    timeline: Timeline


@dataclass(frozen=True)
class Front:
    """The front found.

    Attributes:
        plans: by rising seconds and falling joules.
        exact: no plan lies below it.
        how: in words, what was done.
        hull: bounds of plans that are not in it; None where it is exact.
    """

    plans: tuple[FrontPlan, ...]
    exact: bool
    how: str
    hull: Hull | None = None

    def least_j(self, deadline_s: float) -> float:
        """Return joules below which no plan within a deadline is."""
        if self.hull is not None:
            return self.hull.joules_within(deadline_s)
        figures = [(plan.timeline.seconds, plan.timeline.joules or 0.0) for plan in self.plans]
        return min((joules for seconds, joules in figures if seconds <= deadline_s), default=float("inf"))


def pareto(table: CostTable, request: Request) -> Answer:
    """Return the method: the front's plans as proposals; the bound is the objective's alone."""
    until = time.monotonic() + request.time_limit_s
    found = front(table, replace(request, time_limit_s=FRONT_SHARE * request.time_limit_s))
    bound = bounded(table, replace(request, pareto=False), part_of(until, BOUND_SHARE))
    how = found.how if found.exact else "lower hull of weighed sums"
    return Answer(tuple(plan.proposal for plan in found.plans), bound.bound, bound.how, found.least_j, how)


def pareto_fits(table: CostTable, request: Request) -> bool:
    """Return whether the front of sequential plans is asked for."""
    return request.pareto and request.schedule == "sequential" and has_joules(table)


def front(table: CostTable, request: Request) -> Front:
    """Return the front of all sequential plans within the request's limits.

    Raises:
        UsageError: the table has no joules.
        InfeasibleError: no plan runs every layer, or none keeps the limits.
    """
    if not has_joules(table):
        raise UsageError("the profile has no joules, so there is no front of time and energy", "give `joules`")
    check_possible(table)
    until = time.monotonic() + request.time_limit_s
    asked = replace(request, pareto=True)
    if on_one_order(table) and not chain_uncovered(table):
        return _along_chain(table, asked, until)
    whole = front_within(table, asked, TRANSITIONS) if len(table.layer_names) <= SMALL_LAYERS else None
    if whole is not None:
        return _front(asked, _judged(table, whole), exact=True, how="whole search, exact")
    if on_one_order(table):
        return _along_chain(table, asked, until)
    points, uncovered = front_of_placements(table, part_of(until, PLACEMENTS_SHARE))
    if points is not None and not uncovered:
        plans = implied_plans(table, [point.states for point in points])
        return _front(asked, _judged(table, plans), exact=True, how="front of placements, exact")
    return _searched(table, asked, [], until)


def _along_chain(table: CostTable, request: Request, until: float) -> Front:
    """Return the front of a chain: exact where it is not too large and nothing couples slices far apart."""
    hull = hull_of(table, part_of(until, 0.1))
    hull.explore(everywhere, part_of(until, 0.1))
    known = _judged(table, [point.proposal for point in hull.points])
    figures = [(plan.timeline.seconds, plan.timeline.joules or 0.0) for plan in known]
    points = chain_front(table, known=figures, until=part_of(until, 0.8))
    if points is not None and not chain_uncovered(table):
        found = [*known, *_judged(table, [point.proposal for point in points])]
        return _front(request, found, exact=True, how="front along the chain, exact")
    if points is None:
        ends = [point.seconds for point in hull.points]
        points = thinned_front(table, min(ends), max(ends)) if len(ends) > 1 else []
    return _searched(table, request, [point.proposal for point in points], until)


def _searched(table: CostTable, request: Request, known: Sequence[Proposal], until: float) -> Front:
    """Return good plans for the weights of the whole hull, each improved for its weights, and those known already."""
    explored = part_of(until, EXPLORED_SHARE)
    hull = hull_of(table, explored, request.seed)
    hull.explore(everywhere, explored)
    found = _judged(table, [*known, *one_state_plans(table)])
    answers = [answer for answer in hull.answers if answer.point is not None]
    coupled_chain = labels_apply(table, request)
    for index, answer in enumerate(answers):
        starts = [*_plan_of(answer), *implied_plans(table, [answer.point.states])] if answer.point else []
        if coupled_chain:
            share = max(until - time.monotonic(), 0.05) / (len(answers) - index)
            exact = best_by_labels(table, answer.weights, replace(request, time_limit_s=share))
            starts += [exact] if exact is not None else []
        found += _judged(table, starts)
        if found:
            rank = _sum_rank(answer.weights)
            best = min(found, key=lambda plan: rank(plan.timeline.seconds, plan.timeline.joules or 0.0))
            with suppress(TimeUpError):
                share = part_of(until, 1 / (len(answers) - index))
                found += _judged(table, [improve(table, best.proposal, rank, share)])
    how = "plans for the weights of the lower hull, improved by moves"
    return replace(_front(request, found, exact=False, how=how), hull=hull)


def _plan_of(answer: Asked) -> list[Proposal]:
    return [answer.point.proposal] if answer.point is not None and answer.point.proposal else []


def _sum_rank(weights: Weights) -> Rank:
    return lambda seconds, joules: (0.0, weights.seconds * seconds + weights.joules * joules)


def _judged(table: CostTable, proposals: Iterable[Proposal]) -> list[FrontPlan]:
    """Return the different proposals that can run, with the simulator's word."""
    judged = []
    for proposal in dict.fromkeys(proposals):
        try:
            judged.append(FrontPlan(proposal, simulate(table, proposal)))
        except InfeasibleError:
            continue
    return judged


def _front(request: Request, judged: Sequence[FrontPlan], *, exact: bool, how: str) -> Front:
    """Return of judged plans within the limits those that none beats; equal ones (up to rounding) once."""
    rank = rank_of(request)
    plans = [(plan.timeline.seconds, plan.timeline.joules or 0.0, plan) for plan in judged]
    plans = sorted((plan for plan in plans if rank(plan[0], plan[1])[0] == 0.0), key=lambda plan: plan[:2])
    kept: list[tuple[float, float, FrontPlan]] = []
    for plan in plans:
        if kept and plan[1] >= kept[-1][1] * (1 - TOLERANCE):
            continue
        if kept and plan[0] <= kept[-1][0] * (1 + TOLERANCE):
            kept.pop()
        kept.append(plan)
    return Front(tuple(plan for _, _, plan in kept), exact, how)
