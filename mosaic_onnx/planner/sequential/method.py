"""The sequential method for any graph: exact where it is small, else bounds, plans from several sides, and moves.

1. Small graphs are searched whole (``exhaustive``): the answer is exact, with every feature of the profile. For others
   plans that are made in a moment come first, so that there is a plan whatever the time limit.
2. The best placement without slices (``relaxation``, for several weights ``hull``, under limits ``placement_front`` or
   an integer program) gives the lower bound, and plans along the orders that it implies.
3. Interval programs cut several topological orders into slices.
4. The best few of these are improved by ``moves``; with the best plan known, small graphs are searched whole again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from operator import itemgetter

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError, NoPlanFoundError
from mosaic_onnx.core.plans import Objective
from mosaic_onnx.planner.core.deadline import TimeUpError, check_time, part_of
from mosaic_onnx.planner.core.infeasibility import check_possible
from mosaic_onnx.planner.core.objective import rank_of
from mosaic_onnx.planner.core.orders import candidate_orders, file_order
from mosaic_onnx.planner.core.request import TOLERANCE, Answer, Proposal, Request
from mosaic_onnx.planner.core.request_constraints import keeps_shape
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.exhaustive.method import optimum_within
from mosaic_onnx.planner.placement.problem import is_exact
from mosaic_onnx.planner.search.initial_solutions import filled_plans, implied_plans, quick_plans
from mosaic_onnx.planner.search.moves import improve
from mosaic_onnx.planner.sequential.bounds import Bounded, bounded
from mosaic_onnx.planner.sequential.capped_runs import capped_plans
from mosaic_onnx.planner.sequential.constrained_bounds import chain_uncovered, on_one_order
from mosaic_onnx.planner.sequential.order_cuts import cut_plans
from mosaic_onnx.planner.throughput.pipeline import one_slice_per_device

INF = float("inf")
TRANSITIONS = 200_000
"""Effort of the whole search, which needs a good plan to prune with."""
SMALL_LAYERS = 40
"""Graphs of more layers are not searched whole."""
IMPROVED = 3
"""Number of the best plans that are improved by moves."""
FILLED_LAYERS = 20_000
"""Up to so many layers devices are filled along other orders than the file's."""
LIMITED_SHARE = 0.5
"""Of the time that is left, what plans get that are best at what is limited, where no quick plan keeps the limits."""
PIPELINE_SHARE = 0.3
"""Of the time that is left, what pipelines get where a device may run one slice only."""
JUDGED = 3
"""Time for so many plans is kept back, for the answer to be judged and written out."""

Ranked = tuple[Proposal, tuple[float, float]]
"""A plan that can run, and its rank."""


def sequential(table: CostTable, request: Request) -> Answer:
    """Return plans and a lower bound for latency, energy or their product, with or without limits.

    Raises:
        InfeasibleError: proved: no plan runs every layer, or none keeps the limits.
    """
    judge = _Judge(table, request, time.monotonic() + request.time_limit_s)
    check_possible(table)
    early = capped_plans(table, request, [file_order(table)], part_of(judge.until, 0.1), search=False)
    ranked = judge.ranked((plan for plans in (quick_plans(table), early) for plan in plans), one_surely=True)
    if not on_one_order(table) and (not ranked or ranked[0][1][0] > 0):  # none keeps the limits
        ranked = _merged(ranked, judge.ranked(_best_at_limits(table, request, judge.until)))
    relaxed = bounded(table, request, judge.until)
    plans = (plan for part in (relaxed.proposals, implied_plans(table, relaxed.placements)) for plan in part)
    ranked = _merged(ranked, judge.ranked(plans))
    goal = (0.0, relaxed.bound * (1 + TOLERANCE))
    if not ranked or ranked[0][1] > goal:
        ranked = _merged(ranked, judge.ranked(_cut(table, request, relaxed, judge.until)))
        ranked = [*_improved(judge, ranked, goal), *ranked]
    answer = Answer(tuple(plan for plan, _ in ranked), relaxed.bound, relaxed.how)
    best = min((rank for _, rank in ranked), default=(INF, INF))
    if best <= goal or best[0] > 0:
        return answer
    exact = _whole(table, request, judge.until, ranked[0][0] if ranked else None)
    return answer if exact is None else replace(exact, proposals=(*exact.proposals, *answer.proposals))


def _whole(table: CostTable, request: Request, until: float, start: Proposal | None) -> Answer | None:
    """Return the exact answer of a small graph; None where it is too large, or other methods are exact at less cost.

    Those are the best placement where placements are plans, and under limits the front of a chain.
    """
    limited = request.deadline_s is not None or request.budget_j is not None
    demands = request.one_slice_per_device or request.min_slice_count > 1 or request.in_list_order
    if limited and not demands and on_one_order(table) and not chain_uncovered(table):
        return None
    if len(table.layer_names) > SMALL_LAYERS or is_exact(table):
        return None
    return optimum_within(table, request, TRANSITIONS, until, start)


def _best_at_limits(table: CostTable, request: Request, until: float) -> Iterator[Proposal]:
    """Yield plans of least latency where that is limited, of least energy where that is: none keeps tighter limits."""
    free = replace(request, deadline_s=None, budget_j=None)
    limits: tuple[tuple[Objective, float | None], ...] = (("latency", request.deadline_s), ("energy", request.budget_j))
    for objective, limit in limits:
        if limit is not None:
            limit_s = LIMITED_SHARE * max(until - time.monotonic(), 0.0)
            asked = replace(free, objective=objective, time_limit_s=limit_s)
            with suppress(NoPlanFoundError):
                yield from sequential(table, asked).proposals


def _cut(table: CostTable, request: Request, relaxed: Bounded, until: float) -> Iterator[Proposal]:
    """Yield plans from several orders cut into slices."""
    first = relaxed.placements[0] if relaxed.placements else None
    orders: list[tuple[int, ...]] = []
    with suppress(TimeUpError):
        orders.extend(candidate_orders(table, relaxed.placements[:1], part_of(until, 0.3)))
    if request.one_slice_per_device:
        with suppress(InfeasibleError):
            limit_s = PIPELINE_SHARE * max(until - time.monotonic(), 0.0)
            yield from one_slice_per_device(table, replace(request, time_limit_s=limit_s)).proposals
    if len(table.layer_names) <= FILLED_LAYERS:
        yield from filled_plans(table, orders)
    yield from capped_plans(table, request, orders, part_of(until, 0.5))
    yield from cut_plans(table, request, orders, first, until, relaxed.prices)


def _improved(judge: _Judge, starts: Sequence[Ranked], goal: tuple[float, float]) -> list[Ranked]:
    """Return the best few starts after moves; none where the best start reaches the goal."""
    table, request = judge.table, judge.request
    improved: list[Proposal] = []
    for index, (proposal, figure) in enumerate(starts[:IMPROVED]):
        if figure <= goal:
            break
        if improved and time.monotonic() > judge.until:
            break
        share = part_of(judge.until, 1 / (min(len(starts), IMPROVED) - index))
        with suppress(TimeUpError):
            alone = request.one_slice_per_device
            improved.append(improve(table, proposal, judge.rank, share, one_slice_per_device=alone))
    return judge.ranked(improved)


def sequential_fits(table: CostTable, request: Request) -> bool:
    """Return whether this method answers the request; ``error_budget`` asks it where errors have a budget."""
    fits = request.schedule == "sequential" and request.objective != "throughput"
    return fits and not request.pareto and request.max_error is None


class _Judge:
    """Ranks plans by the simulator as long as there is time; some is kept back for the answer to be judged again."""

    def __init__(self, table: CostTable, request: Request, end: float) -> None:
        """Prepare for a search that ends at a time of the monotonic clock."""
        self.table, self.request, self.rank = table, request, rank_of(request)
        self._end = end
        self._longest_s = 0.0

    @property
    def until(self) -> float:
        """The time of the clock at which the search ends: the earlier, the longer judging a plan has taken so far."""
        return self._end - JUDGED * self._longest_s

    def ranked(self, proposals: Iterable[Proposal], *, one_surely: bool = False) -> list[Ranked]:
        """Return the different proposals that can run, best first; as many as are made and judged in time.

        Args:
            proposals: the most promising first.
            one_surely: whatever the time is, go on until one can run.
        """
        judged: dict[Proposal, tuple[float, float]] = {}
        waiting = iter(proposals)
        with suppress(TimeUpError):
            while True:
                if judged or not one_surely:
                    check_time(self.until)  # before the next one is made
                proposal = next(waiting, None)
                if proposal is None:
                    break
                if proposal not in judged and keeps_shape(self.table, self.request, proposal):
                    began = time.monotonic()
                    try:
                        timeline = simulate(self.table, proposal)
                    except InfeasibleError:
                        continue
                    judged[proposal] = self.rank(timeline.seconds, timeline.joules or 0.0)
                    self._longest_s = max(self._longest_s, time.monotonic() - began)
        return sorted(judged.items(), key=itemgetter(1))


def _merged(some: Sequence[Ranked], others: Sequence[Ranked]) -> list[Ranked]:
    """Return the plans of both, each once, best first."""
    return sorted(dict([*some, *others]).items(), key=itemgetter(1))
