"""The sequential method for any graph: exact where it is small, else bounds, plans from several sides, and moves.

1. Small graphs are searched whole (``downsets``): the answer is exact, with every feature of the profile.
2. The best placement without slices (``relaxation``, for several weights ``hull``, under limits ``placement_front`` or
   an integer program) gives the lower bound, and plans along the orders that it implies.
3. Interval programs cut several topological orders into slices.
4. The best few of these are improved by ``moves``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from operator import itemgetter

from mosaic_onnx.costs import CostTable
from mosaic_onnx.errors import InfeasibleError
from mosaic_onnx.planner import downsets
from mosaic_onnx.planner.bounds import Bounded, bounded
from mosaic_onnx.planner.conflicts import check_limits, check_possible
from mosaic_onnx.planner.goal import has_joules, objective_of, rank_of, single_weights
from mosaic_onnx.planner.moves import improve
from mosaic_onnx.planner.orders import candidate_orders
from mosaic_onnx.planner.placement import placement
from mosaic_onnx.planner.request import TOLERANCE, Answer, Placed, Proposal, Request
from mosaic_onnx.planner.simulate import simulate
from mosaic_onnx.planner.starts import cut_plans, filled_plans, implied_plans, one_state_plans
from mosaic_onnx.planner.weights import ENERGY, LATENCY, Weights, weigh

SMALL_LAYERS = 40
"""Graphs of more layers are not searched whole."""
IMPROVED = 3
"""How many of the best plans are improved by moves."""

Ranked = tuple[Proposal, tuple[float, float]]
"""A plan that can run, and its rank."""


def sequential(table: CostTable, request: Request) -> Answer:
    """Plans and a lower bound for latency, energy or their product, with or without limits.

    Raises:
        InfeasibleError: proved: no plan runs every layer, or none keeps the limits.
    """
    until = time.monotonic() + request.time_limit_s
    check_possible(table)
    exact = search_whole(table, request)
    if exact is not None:
        return exact
    relaxed = bounded(table, request, until)
    plans = [*relaxed.proposals, *implied_plans(table, relaxed.placements), *one_state_plans(table)]
    ranked = _ranked(table, request, plans)
    goal = (0.0, relaxed.bound * (1 + TOLERANCE))
    if not ranked or ranked[0][1] > goal:
        ranked = sorted([*ranked, *_cut(table, request, relaxed, until)], key=itemgetter(1))
        improved = _improved(table, request, ranked, goal, until)
    else:
        improved = []
    return Answer((*improved, *(plan for plan, _ in ranked)), relaxed.bound, relaxed.how)


def _cut(table: CostTable, request: Request, relaxed: Bounded, until: float) -> list[Ranked]:
    """Plans from several orders cut into slices."""
    orders = candidate_orders(table, relaxed.placements[:1])
    first = relaxed.placements[0] if relaxed.placements else None
    plans = [*filled_plans(table, orders), *cut_plans(table, relaxed.weights, orders, first, until)]
    return _ranked(table, request, plans)


def _improved(
    table: CostTable, request: Request, starts: Sequence[Ranked], goal: tuple[float, float], until: float
) -> list[Proposal]:
    """The best few starts after moves; none where the best start reaches the goal."""
    rank = rank_of(request)
    improved = []
    for index, (proposal, figure) in enumerate(starts[:IMPROVED]):
        if figure <= goal:
            break
        left = max(until - time.monotonic(), 0.1) / (min(len(starts), IMPROVED) - index)
        improved.append(improve(table, proposal, rank, left))
    return improved


def sequential_fits(table: CostTable, request: Request) -> bool:
    """Whether the request is one that this method answers; ``error_budget`` asks it where errors have a budget."""
    fits = request.schedule == "sequential" and request.objective != "throughput"
    return fits and request.max_error is None


def _ranked(table: CostTable, request: Request, proposals: Iterable[Proposal]) -> list[Ranked]:
    """The different proposals that can run, best first."""
    rank = rank_of(request)
    judged: dict[Proposal, tuple[float, float]] = {}
    for proposal in proposals:
        if proposal not in judged:
            try:
                timeline = simulate(table, proposal)
            except InfeasibleError:
                continue
            judged[proposal] = rank(timeline.seconds, timeline.joules or 0.0)
    return sorted(judged.items(), key=itemgetter(1))


def search_whole(table: CostTable, request: Request, transition_limit: int = 60_000) -> Answer | None:
    """The exact answer of a small graph; None where it is too large, or where placements are plans.

    Raises:
        InfeasibleError: no plan runs every layer within the caps, or none keeps the limits.
    """
    if len(table.layer_names) > SMALL_LAYERS:
        return None
    both = Weights(1.0, 1.0) if has_joules(table) else LATENCY
    if not placement(table, weigh(table, both)).uncovered:
        return None
    single = single_weights(request)
    weights = [single] if single is not None else [LATENCY, ENERGY] if has_joules(table) else [LATENCY]
    try:
        found = downsets.search(table, [weigh(table, one) for one in weights], transition_limit)
    except downsets.TooLargeError:
        return None
    if not found:
        raise InfeasibleError("no plan runs every layer within the memory caps", "raise the caps, or add a device")
    proposals = tuple(tuple(Placed(*run) for run in one.runs) for one in found)
    if single is not None:
        return Answer(proposals, found[0].costs[0], "whole search, exact")
    return _within_limits(request, found, proposals)


def _within_limits(request: Request, found: Sequence[downsets.Found], proposals: tuple[Proposal, ...]) -> Answer:
    """Of the whole front, what keeps the limits."""
    rank = rank_of(request)
    points = [(one.costs[0], one.costs[-1]) for one in found]
    kept = [point for point in points if rank(*point)[0] == 0.0]
    if not kept:
        joules = None if len(found[0].costs) == 1 else min(point[1] for point in points)
        in_budget = [s for s, j in points if request.budget_j is None or j <= request.budget_j]
        check_limits(request, points[0][0], joules, min(in_budget, default=None))
    bound = min(objective_of(request.objective, *point) for point in kept)
    return Answer(proposals, bound, "whole search, exact")
