"""Whole search of small graphs: exact with every feature of the profile format, for every sequential request."""

from __future__ import annotations

from collections.abc import Sequence

from mosaic_onnx.core.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.infeasibility import check_limits
from mosaic_onnx.planner.core.objective import has_joules, objective_of, rank_of, single_weights
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, Weights, weigh
from mosaic_onnx.planner.core.request import Answer, Placed, Proposal, Request
from mosaic_onnx.planner.placement.problem import placement
from mosaic_onnx.planner.placement.relax import relax
from mosaic_onnx.planner.sequential import downsets

INF = float("inf")
SMALL_LAYERS = 40
"""Graphs of more layers are not searched whole."""


def search_whole(
    table: CostTable, request: Request, transition_limit: int, incumbent: float | None = None
) -> Answer | None:
    """The exact answer of a small graph; None where it is too large, or where placements are plans.

    Args:
        table: costs.
        request: with its objective and limits.
        transition_limit: how much is tried before the search gives up.
        incumbent: the objective of a plan that is known, for pruning; not with ``pareto``.

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
        upper = [] if incumbent is None or request.pareto else _upper(table, request, weights, incumbent)
        found = downsets.search(table, [weigh(table, one) for one in weights], transition_limit, upper)
    except downsets.TooLargeError:
        return None
    if not found and incumbent is not None:
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


def _upper(table: CostTable, request: Request, weights: Sequence[Weights], incumbent: float) -> list[float]:
    """Per criterion what a plan that is no worse than the incumbent costs at most."""
    seconds = INF if request.deadline_s is None else request.deadline_s
    joules = INF if request.budget_j is None else request.budget_j
    if request.objective == "latency":
        seconds = min(seconds, incumbent)
    elif request.objective == "energy":
        joules = min(joules, incumbent)
    else:
        least = [relax(table, weigh(table, one), 1.0).bound for one in (LATENCY, ENERGY)]
        seconds = min(seconds, incumbent / least[1] if least[1] else INF)
        joules = min(joules, incumbent / least[0] if least[0] else INF)
    return [joules if one == ENERGY else seconds for one in weights]
