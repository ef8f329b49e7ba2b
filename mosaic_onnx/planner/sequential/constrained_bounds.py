"""Closing the gap that weighed sums leave under limits: fronts, or an integer program with the limits in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Ints
from mosaic_onnx.planner.chain.chain_costs import is_chain, is_tight
from mosaic_onnx.planner.chain.pareto import ChainPoint, HalfPlane, chain_front
from mosaic_onnx.planner.core.infeasibility import check_limits
from mosaic_onnx.planner.core.lagrangian_hull import Hull
from mosaic_onnx.planner.core.lower_bounds import useful_states
from mosaic_onnx.planner.core.objective import objective_of, rank_of
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, Weights, weigh
from mosaic_onnx.planner.core.request import Proposal, Request
from mosaic_onnx.planner.placement.pareto import FrontPoint, placement_front
from mosaic_onnx.planner.placement.problem import placement
from mosaic_onnx.planner.placement.relax import relax_within, said

FRONT_LABELS = 400_000
"""Labels that the exact front of placements may look at."""
THIN_SPANS = 500
"""Into how many spans of seconds a chain's front is thinned where it is too large."""
SUMS = 6
"""Number of weighed sums that prune the front between a deadline and a budget."""
PLACEMENTS = 4
"""Number of placements or plans are handed on as starts."""


@dataclass(frozen=True, eq=False)
class Closed:
    """A bound, and what came of it; ``bound`` is 0 where nothing is proved."""

    bound: float
    how: str
    placements: tuple[Ints, ...] = ()
    proposals: tuple[Proposal, ...] = ()


def close_chain(table: CostTable, request: Request, hull: Hull, incumbent: float, until: float) -> Closed:
    """Return the front of a chain between the limits and the best plan known so far, exact where it is not too large.

    Args:
        table: costs of a chain.
        request: with its limits.
        hull: what weighed sums have proved.
        incumbent: the objective of the best plan known; inf for none.
        until: ``time.monotonic()`` at which to settle for a thinned front.
    """
    points = chain_front(table, _wanted(request, hull, incumbent), until=until)
    if points is None:
        thin = _thinned(table, hull)
        return Closed(0.0, "", proposals=_best(request, thin))
    rank = rank_of(request)
    kept = [point for point in points if rank(point.seconds, point.joules)[0] == 0.0]
    bound = min([incumbent, *(objective_of(request.objective, point.seconds, point.joules) for point in kept)])
    how = said("front along the chain", chain_uncovered(table))
    return Closed(bound if np.isfinite(bound) else 0.0, how, proposals=_best(request, points))


def close_placements(table: CostTable, request: Request, until: float) -> Closed | None:
    """Return the front of all placements, below which no plan lies; None where it is too large for the time."""
    points, uncovered = front_of_placements(table, until)
    if not points:
        return None
    in_budget = [p.seconds for p in points if request.budget_j is None or p.joules <= request.budget_j]
    check_limits(request, points[0].seconds, points[-1].joules, min(in_budget, default=None))
    rank = rank_of(request)
    best = sorted(points, key=lambda point: rank(point.seconds, point.joules))[:PLACEMENTS]
    kept = [point for point in points if rank(point.seconds, point.joules)[0] == 0.0]
    bound = min((objective_of(request.objective, p.seconds, p.joules) for p in kept), default=0.0)
    return Closed(bound, said("front of placements", uncovered), tuple(point.states for point in best))


def close_program(table: CostTable, request: Request, time_limit_s: float) -> Closed | None:
    """Return the integer program with the limits as constraints; None for a product, which is no sum."""
    if request.objective == "edp":
        return None
    weights = {"latency": LATENCY, "energy": ENERGY}[request.objective]
    limits = [(LATENCY, request.deadline_s), (ENERGY, request.budget_j)]
    held = [(weigh(table, one), limit) for one, limit in limits if limit is not None and one != weights]
    relaxed = relax_within(
        table,
        [weigh(table, weights), *(weighed for weighed, _ in held)],
        [limit for _, limit in held],
        time_limit_s=time_limit_s,
    )
    return Closed(relaxed.bound, relaxed.said, () if relaxed.states is None else (relaxed.states,))


def front_of_placements(table: CostTable, until: float) -> tuple[list[FrontPoint] | None, tuple[str, ...]]:
    """Return the front of all placements, below which no plan lies, and what it does not charge.

    The front is None where it is too large, or ``time.monotonic()`` says ``until`` before it is known.
    """
    criteria = [weigh(table, LATENCY), weigh(table, ENERGY)]
    keep = useful_states(table, criteria)
    seconds, joules = (placement(table, weighed, keep) for weighed in criteria)
    uncovered = tuple(dict.fromkeys(seconds.uncovered + joules.uncovered))
    return placement_front(seconds, joules, FRONT_LABELS, until), uncovered


def on_one_order(table: CostTable) -> bool:
    """Return whether the layers are a chain that can run in no other order."""
    return is_chain(table, range(len(table.layer_names))) and is_tight(table)


def chain_uncovered(table: CostTable) -> tuple[str, ...]:
    """In words, what the programs along a chain do not charge or forbid."""
    return ("memory caps of whole devices",) if np.isfinite(table.memory_bytes).any() else ()


def thinned_front(table: CostTable, least_s: float, most_s: float) -> list[ChainPoint]:
    """Return plans of a chain close to its front, at most one per span of seconds."""
    width = (most_s - least_s) / THIN_SPANS
    return chain_front(table, width_s=width, label_limit=1 << 60) or []


def _thinned(table: CostTable, hull: Hull) -> list[ChainPoint]:
    points = hull.points
    return thinned_front(table, points[0].seconds, points[-1].seconds) if len(points) > 1 else []


def _wanted(request: Request, hull: Hull, incumbent: float) -> list[HalfPlane]:
    """Half-planes that hold every plan within the limits that beats the incumbent."""
    seconds = [request.deadline_s] if request.deadline_s is not None else []
    joules = [request.budget_j] if request.budget_j is not None else []
    if np.isfinite(incumbent):
        seconds += [incumbent] if request.objective == "latency" else []
        joules += [incumbent] if request.objective == "energy" else []
    planes = [HalfPlane(1.0, 0.0, min(seconds))] if seconds else []
    planes += [HalfPlane(0.0, 1.0, min(joules))] if joules else []
    if seconds and joules:
        sums = [answer.weights for answer in hull.answers if answer.weights.seconds and answer.weights.joules]
        planes += [_sum_plane(weights, min(seconds), min(joules)) for weights in sums[-SUMS:]]
    return planes


def _sum_plane(weights: Weights, seconds: float, joules: float) -> HalfPlane:
    return HalfPlane(weights.seconds, weights.joules, weights.seconds * seconds + weights.joules * joules)


def _best(request: Request, points: Sequence[ChainPoint]) -> tuple[Proposal, ...]:
    rank = rank_of(request)
    best = sorted(points, key=lambda point: rank(point.seconds, point.joules))
    return tuple(point.proposal for point in best[:PLACEMENTS])
