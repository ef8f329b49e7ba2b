"""Lower bounds of every sequential plan, and the placements that reach them.

What a bound leaves out is said in its ``how`` (see ``placement`` for the list and why each only lowers it).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mosaic_onnx.costs import CostTable, Ints
from mosaic_onnx.planner.conflicts import check_limits
from mosaic_onnx.planner.floors import possible_states, useful_states
from mosaic_onnx.planner.goal import has_joules, objective_of, rank_of, single_weights
from mosaic_onnx.planner.hull import Asked, Hull, Supported, around, everywhere, products
from mosaic_onnx.planner.placement import placement, value
from mosaic_onnx.planner.placement_front import FrontPoint, placement_front
from mosaic_onnx.planner.relaxation import Relaxed, over_memory, relax, relax_within, said
from mosaic_onnx.planner.request import Request
from mosaic_onnx.planner.weights import ENERGY, LATENCY, Weights, weigh

INF = float("inf")
SOLVER_SHARE = 0.5
"""Of the time that is left, what an integer program may take."""
FRONT_LABELS = 400_000
"""Labels that the exact front of placements may look at."""
PLACEMENTS = 4
"""How many placements are handed on as starts."""


@dataclass(frozen=True, eq=False)
class Bounded:
    """What is proved, and what came of proving it.

    Attributes:
        bound: lower bound of the objective over all sequential plans within the limits; 0 where none is known.
        how: the method, and what it does not charge.
        placements: [L] states each; good placements, the best first.
        weights: weights of seconds and joules that matter at the request's optimum.
    """

    bound: float
    how: str
    placements: tuple[Ints, ...]
    weights: tuple[Weights, ...]


def bounded(table: CostTable, request: Request, until: float) -> Bounded:
    """The best lower bound that fits the time.

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
    relaxed = _single(table, single, request, until)
    if request.deadline_s is not None:
        check_limits(request, relaxed[0].bound, None)
    best = max(relaxed, key=lambda one: one.bound)
    found = tuple(one.states for one in reversed(relaxed) if one.states is not None)
    return Bounded(best.bound, best.said, found, (single,))


def front_bound(table: CostTable, label_limit: int = FRONT_LABELS) -> tuple[list[FrontPoint] | None, tuple[str, ...]]:
    """The front of all placements, below which no plan lies (None where it is too large); what it does not charge."""
    criteria = [weigh(table, LATENCY), weigh(table, ENERGY)]
    keep = useful_states(table, criteria)
    seconds, joules = (placement(table, weighed, keep) for weighed in criteria)
    uncovered = tuple(dict.fromkeys(seconds.uncovered + joules.uncovered))
    return placement_front(seconds, joules, label_limit), uncovered


def hull_of(table: CostTable, until: float, seed: int = 0) -> Hull:
    """A hull whose questions are answered by the best placements."""
    possible = possible_states(table)
    seconds, joules = (placement(table, weigh(table, weights), possible) for weights in (LATENCY, ENERGY))

    def ask(weights: Weights) -> Asked:
        limit = max(until - time.monotonic(), 0.1) * SOLVER_SHARE / 4
        relaxed = relax(table, weigh(table, weights), limit, seed=seed)
        point = None
        if relaxed.states is not None:
            point = Supported(value(seconds, relaxed.states), value(joules, relaxed.states), relaxed.states)
        return Asked(weights, relaxed.bound, point)

    return Hull(ask)


def _single(table: CostTable, weights: Weights, request: Request, until: float) -> list[Relaxed]:
    """The best placement; and under memory caps, where that breaks one."""
    weighed = weigh(table, weights)
    relaxed = relax(table, weighed, _share(until), seed=request.seed)
    if relaxed.states is None or not over_memory(table, relaxed.states):
        return [relaxed]
    return [relaxed, relax_within(table, [weighed], [], time_limit_s=_share(until), seed=request.seed)]


def _both(table: CostTable, request: Request, until: float) -> Bounded:
    """Limits, a product or a front: seconds and joules together."""
    hull = hull_of(table, until, request.seed)
    deadline = INF if request.deadline_s is None else request.deadline_s
    budget = INF if request.budget_j is None else request.budget_j
    hull.explore(_promising(request, deadline, budget))
    check_limits(
        request,
        hull.seconds_within(INF),
        hull.joules_within(INF),
        hull.seconds_within(budget) if budget < INF else None,
    )
    bound = {
        "latency": lambda: hull.seconds_within(budget),
        "energy": lambda: hull.joules_within(deadline),
        "edp": lambda: hull.product_within(deadline, budget),
    }[request.objective]()
    weights = _weights_at(hull, request)
    rank = rank_of(request)
    best = sorted(hull.points, key=lambda point: rank(point.seconds, point.joules))
    placements = [point.states for point in best[:PLACEMENTS]]
    uncovered = placement(table, weigh(table, Weights(1.0, 1.0))).uncovered
    found = Bounded(bound, said("Lagrangian, exact placements", uncovered), tuple(placements), weights)
    closer = _closer(table, request, until) if len(hull.points) > 1 else None
    if closer is None or closer.bound <= bound:
        return found
    return Bounded(closer.bound, closer.how, (*closer.placements, *placements), weights)


def _closer(table: CostTable, request: Request, until: float) -> Bounded | None:
    """A bound that closes the gap of the Lagrangian one: the front of placements, or an integer program."""
    points, uncovered = front_bound(table)
    if points is not None:
        rank = rank_of(request)
        best = sorted(points, key=lambda point: rank(point.seconds, point.joules))[:PLACEMENTS]
        kept = [point for point in points if rank(point.seconds, point.joules)[0] == 0.0]
        check_limits(
            request,
            points[0].seconds,
            points[-1].joules,
            min((p.seconds for p in points if request.budget_j is None or p.joules <= request.budget_j), default=None),
        )
        bound = min((objective_of(request.objective, p.seconds, p.joules) for p in kept), default=0.0)
        return Bounded(bound, said("front of placements", uncovered), tuple(p.states for p in best), ())
    return _limited_program(table, request, until)


def _limited_program(table: CostTable, request: Request, until: float) -> Bounded | None:
    """The integer program with the limits as constraints; for a single sum only."""
    if request.objective == "edp":
        return None
    weights = {"latency": LATENCY, "energy": ENERGY}[request.objective]
    limits = [(LATENCY, request.deadline_s), (ENERGY, request.budget_j)]
    held = [(weigh(table, one), limit) for one, limit in limits if limit is not None and one != weights]
    relaxed = relax_within(
        table,
        [weigh(table, weights), *(weighed for weighed, _ in held)],
        [limit for _, limit in held],
        time_limit_s=_share(until),
        seed=request.seed,
    )
    placements = () if relaxed.states is None else (relaxed.states,)
    return Bounded(relaxed.bound, relaxed.said, placements, ())


def _promising(request: Request, deadline: float, budget: float) -> Callable[[Hull, Supported, Supported], bool]:
    if request.pareto:
        return everywhere
    if request.objective == "edp" and deadline == budget == INF:
        return products
    if request.objective == "edp":
        return everywhere
    return around(deadline, budget)


def _weights_at(hull: Hull, request: Request) -> tuple[Weights, ...]:
    """Weights whose optimum lies near the request's: those of the hull's edges around its best point."""
    rank = rank_of(request)
    points = [answer for answer in hull.answers if answer.point is not None]
    near: Sequence[Asked] = sorted(
        points, key=lambda a: rank(a.point.seconds, a.point.joules) if a.point else (INF, INF)
    )
    return tuple(dict.fromkeys(answer.weights for answer in near))[:PLACEMENTS]


def _share(until: float) -> float:
    return max(until - time.monotonic(), 0.1) * SOLVER_SHARE
