"""Lower bounds of every sequential plan, and the placements and plans that reach them.

What a bound leaves out is said in its ``how`` (see ``placement`` for the list and why each only lowers it).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats, Ints
from mosaic_onnx.planner.chain.method import ask_chain
from mosaic_onnx.planner.core.deadline import part_of
from mosaic_onnx.planner.core.infeasibility import check_limits
from mosaic_onnx.planner.core.lagrangian_hull import Asked, Hull, Supported, promise_of
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.objective import has_joules, objective_of, rank_of, single_weights
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, Weights, weigh
from mosaic_onnx.planner.core.request import Proposal, Request
from mosaic_onnx.planner.placement.memory_prices import Priced, price_memory
from mosaic_onnx.planner.placement.problem import placement, value
from mosaic_onnx.planner.placement.relax import Relaxed, over_memory, relax, relax_within, said
from mosaic_onnx.planner.sequential.constrained_bounds import (
    PLACEMENTS,
    Closed,
    chain_uncovered,
    close_chain,
    close_placements,
    close_program,
    on_one_order,
)

INF = float("inf")
PROGRAM_CHOICES = 2_000
"""Up to so many pairs of layer and state an integer program looks at memory caps that prices have looked at."""
HULL_SHARE = 0.5
"""Of the time that is left, what weighed sums take at most: plans need some too."""
FRONT_SHARE = 0.3
"""Of the time that is left, what the front of placements may take."""
SOLVER_SHARE = 0.5
"""Of the time that is left, what an integer program may take."""


@dataclass(frozen=True, eq=False)
class Bounded:
    """A proved bound, and the placements and plans found with it.

    Attributes:
        bound: lower bound of the objective over all sequential plans within the limits; 0 where none is known.
        how: the method, and what it does not charge.
        placements: [L] states each; good placements, the best first.
        proposals: plans that were found on the way.
    """

    bound: float
    how: str
    placements: tuple[Ints, ...]
    proposals: tuple[Proposal, ...] = ()
    prices: Floats | None = None
    """[D] weighed cost of a byte on each capped device at which placements nearly keep the caps; None for none"""


def bounded(table: CostTable, request: Request, until: float) -> Bounded:
    """Return the best lower bound that fits the time.

    Args:
        table: costs.
        request: latency, energy or edp; limits, pareto.
        until: ``time.monotonic()`` when integer programs must be done.

    Raises:
        InfeasibleError: proved: no plan keeps the limits.
    """
    single = single_weights(request)
    if single is None and not has_joules(table):
        single = LATENCY
    if single is None:
        return _both(table, request, until)
    relaxed, priced = _single(table, single, request, until)
    if request.deadline_s is not None:
        check_limits(request, relaxed[0].bound, None)
    best = max(relaxed, key=lambda one: one.bound)
    found = tuple(one.states for one in reversed(relaxed) if one.states is not None)
    if priced is not None:
        found = (*priced.placements, *found)
    return Bounded(best.bound, best.said, found, prices=None if priced is None else priced.prices)


def hull_of(table: CostTable, until: float, seed: int = 0) -> Hull:
    """Return a hull whose questions are answered by the best slices of a chain, or else by the best placements."""
    if on_one_order(table):
        return Hull(lambda weights: ask_chain(table, weights))
    possible = possible_states(table)
    seconds, joules = (placement(table, weigh(table, weights), possible) for weights in (LATENCY, ENERGY))

    def ask(weights: Weights) -> Asked:
        limit = max(until - time.monotonic(), 0.1) * SOLVER_SHARE / 4
        relaxed = relax(table, weigh(table, weights), limit)
        point = None
        if relaxed.states is not None:
            point = Supported(value(seconds, relaxed.states), value(joules, relaxed.states), relaxed.states)
        return Asked(weights, relaxed.bound, point)

    return Hull(ask)


def _single(table: CostTable, weights: Weights, request: Request, until: float) -> tuple[list[Relaxed], Priced | None]:
    """Return the best placement; and under memory caps, where that breaks one, what prices and a program say."""
    weighed = weigh(table, weights)
    if table.layer_s.size > PROGRAM_CHOICES and np.isfinite(table.memory_bytes).any():
        priced = price_memory(table, weighed, time.monotonic() + _share(until))  # its first step has no prices
        if priced is not None:
            return [priced.relaxed], priced
    relaxed = relax(table, weighed, _share(until))
    if relaxed.states is None or not over_memory(table, relaxed.states):
        return [relaxed], None
    priced = price_memory(table, weighed, time.monotonic() + _share(until))
    found = [relaxed] if priced is None else [relaxed, priced.relaxed]
    if priced is None or table.layer_s.size <= PROGRAM_CHOICES:
        found.append(relax_within(table, [weighed], [], time_limit_s=_share(until)))
    return found, priced


def _both(table: CostTable, request: Request, until: float) -> Bounded:
    """Bound seconds and joules together, for limits, a product or a front."""
    hull = hull_of(table, until, request.seed)
    deadline = INF if request.deadline_s is None else request.deadline_s
    budget = INF if request.budget_j is None else request.budget_j
    hull.explore(promise_of(request), part_of(until, HULL_SHARE))
    in_budget = hull.seconds_within(budget) if budget < INF else None
    check_limits(request, hull.seconds_within(INF), hull.joules_within(INF), in_budget)
    bound = {
        "latency": lambda: hull.seconds_within(budget),
        "energy": lambda: hull.joules_within(deadline),
        "edp": lambda: hull.product_within(deadline, budget),
    }[request.objective]()
    rank = rank_of(request)
    best = sorted(hull.points, key=lambda point: rank(point.seconds, point.joules))[:PLACEMENTS]
    closer = _closer(table, request, hull, bound, until)
    return Bounded(
        max(bound, closer.bound),
        closer.how if closer.bound > bound else _how(table),
        (*closer.placements, *(point.states for point in best)),
        (*closer.proposals, *(point.proposal for point in best if point.proposal)),
    )


def _how(table: CostTable) -> str:
    if on_one_order(table):
        return said("hull of weighed sums along the chain", chain_uncovered(table))
    uncovered = placement(table, weigh(table, Weights(1.0, 1.0))).uncovered
    return said("hull of weighed sums over placements", uncovered)


def _closer(table: CostTable, request: Request, hull: Hull, bound: float, until: float) -> Closed:
    """Return what closes the gap that weighed sums leave; nothing where there is none."""
    nothing = Closed(0.0, "")
    limited = request.deadline_s is not None or request.budget_j is not None
    if not limited:
        return nothing
    if on_one_order(table):
        incumbent = _incumbent(request, hull)
        return nothing if incumbent <= bound else close_chain(table, request, hull, incumbent, part_of(until, 0.8))
    if len(hull.points) < 2:
        return nothing
    closed = close_placements(table, request, part_of(until, FRONT_SHARE))
    return closed or close_program(table, request, _share(until)) or nothing


def _incumbent(request: Request, hull: Hull) -> float:
    """Return the objective of the best plan known within the limits."""
    rank = rank_of(request)
    points = [(point.seconds, point.joules) for point in hull.points if point.proposal]
    kept = [point for point in points if rank(*point)[0] == 0.0]
    return min((objective_of(request.objective, *point) for point in kept), default=INF)


def _share(until: float) -> float:
    return max(until - time.monotonic(), 0.1) * SOLVER_SHARE
