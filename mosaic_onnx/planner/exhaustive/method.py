"""The exhaustive method: tables of a few layers and states get their optimum, proved, whatever is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Objective
from mosaic_onnx.core.text.quantities import joules_text, seconds_text
from mosaic_onnx.planner.core.infeasibility import check_limits, check_possible
from mosaic_onnx.planner.core.request import TOLERANCE, Answer, MethodUnavailable, PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.request_constraints import meets
from mosaic_onnx.planner.core.simulate import simulate, value
from mosaic_onnx.planner.exhaustive.search import Effort, Search
from mosaic_onnx.planner.exhaustive.slice_options import TooLargeError
from mosaic_onnx.planner.search.initial_solutions import one_state_plans, runs

LAYERS = 7
"""Up to so many layers ``auto`` runs this first."""
STATES = 12
"""Up to so many states."""
TRANSITIONS = 20_000_000
"""Number of slices appended to partial plans in such a table; time is the limit before that."""
BEAMS = (8, 60)
"""Widths of the searches that come first, for a good plan to prune with."""
EXPLAINED_TRANSITIONS, EXPLAINED_S = 500_000, 2.0
"""Effort of one search for the reason of a refusal."""


def exhaustive(table: CostTable, request: Request) -> Answer:
    """Return the best plan of all, and its figure as the bound.

    Raises:
        InfeasibleError: proved: no plan satisfies the table's and the request's constraints.
        MethodUnavailable: the table is too large for the request's time limit.
    """
    if not table.layer_names:
        return Answer(((),), 0.0, "nothing to do")
    check_possible(table)
    effort = Effort(TRANSITIONS, time.monotonic() + max(request.time_limit_s, 1.0))
    try:
        return _optimum(table, request, effort, beams=BEAMS)
    except TooLargeError:
        raise MethodUnavailable("the table is too large to look at every plan in the time limit") from None


def exhaustive_fits(table: CostTable, request: Request) -> bool:
    """Return whether ``auto`` runs it: for small tables, unless the whole front is asked for."""
    return len(table.layer_names) <= LAYERS and len(table.state_names) <= STATES and not request.pareto


def optimum_within(
    table: CostTable, request: Request, transition_limit: int, until: float, start: Proposal | None = None
) -> Answer | None:
    """Return the exact answer if so much effort finds it, else None.

    Args:
        table: costs.
        request: what is asked.
        transition_limit: how many slices are appended to partial plans before the search gives up.
        until: ``time.monotonic()`` at which it gives up.
        start: a good plan that is known, for pruning.

    Raises:
        InfeasibleError: proved: no plan satisfies the table's and the request's constraints.
    """
    try:
        return _optimum(table, request, Effort(transition_limit, until), start)
    except TooLargeError:
        return None


def front_within(table: CostTable, request: Request, transition_limit: int) -> list[Proposal] | None:
    """Return the plans that no other beats in seconds and joules if so much effort finds them all, else None.

    Raises:
        InfeasibleError: proved: no plan satisfies the table's and the request's constraints.
    """
    try:
        found = Search(table, request, Effort(transition_limit)).front()
    except TooLargeError:
        return None
    if not found:
        raise _refusal(table, request)
    return found


def _optimum(
    table: CostTable, request: Request, effort: Effort, start: Proposal | None = None, beams: Sequence[int] = ()
) -> Answer:
    search = _search(table, request, effort, start, beams)
    best = search.optimum()
    if best is None:
        raise _refusal(table, request)
    return Answer((_fewer_slices(table, request, best),), search.known, "whole search, exact")


def _search(
    table: CostTable, request: Request, effort: Effort, start: Proposal | None = None, beams: Sequence[int] = ()
) -> Search:
    """Return a search that knows good plans to prune with."""
    search = Search(table, request, effort)
    for proposal in _starts(table) if start is None else (start,):
        search.offer(proposal)
    for beam in beams:
        search.optimum(beam)
    return search


def _fewer_slices(table: CostTable, request: Request, best: Proposal) -> Proposal:
    """Return a plan of the same figure with slices of one state joined, as many as can be."""
    limit = value(simulate(table, best, request.schedule), request.objective) * (1 + TOLERANCE / 10)
    for earlier, later in combinations(range(len(best)), 2):
        if best[earlier].state != best[later].state:
            continue
        joined = PlacedSlice((*best[earlier].layers, *best[later].layers), best[earlier].state)
        for place in (earlier, later):
            slices = {**dict(enumerate(best)), place: joined}
            del slices[later if place == earlier else earlier]
            candidate = tuple(slices.values())
            try:
                timeline = simulate(table, candidate, request.schedule)
                meets(table, request, candidate, timeline)
            except InfeasibleError:
                continue
            if value(timeline, request.objective) <= limit:
                return _fewer_slices(table, request, candidate)
    return best


def _starts(table: CostTable) -> list[Proposal]:
    """Return plans that are made in a moment: one state for all, and every layer where it is fastest."""
    fastest = np.where(np.isfinite(table.layer_s), table.layer_s, np.inf).argmin(axis=1)
    return [*one_state_plans(table), runs(table, range(len(fastest)), fastest)]


def _refusal(table: CostTable, request: Request) -> InfeasibleError:
    """Return the error that names the limit that cannot be kept, or else all that is asked together.

    What would be enough on its own, ``refusal_hints`` finds.
    """
    with suppress(TooLargeError):
        try:
            _check_limits(table, request)
        except InfeasibleError as error:
            return error
    asked = ", ".join(_asked(table, request)) or "every layer"
    return InfeasibleError(f"no plan satisfies what is asked together: {asked}; all plans were looked at")


def _check_limits(table: CostTable, request: Request) -> None:
    """Raise the error that says which limit lies below the least of all plans, if one does."""
    free = replace(request, deadline_s=None, budget_j=None, max_error=None, pareto=False)

    def least(asked: Request, objective: Objective) -> float | None:
        asked = replace(asked, objective=objective)
        effort = Effort(EXPLAINED_TRANSITIONS, time.monotonic() + EXPLAINED_S)
        found = _search(table, asked, effort, beams=BEAMS[:1]).optimum()
        return None if found is None else value(simulate(table, found, request.schedule), objective)

    in_budget = None if request.budget_j is None else least(replace(free, budget_j=request.budget_j), "latency")
    least_j = None if request.budget_j is None else least(free, "energy")
    check_limits(request, None if request.deadline_s is None else least(free, "latency"), least_j, in_budget)


def _asked(table: CostTable, request: Request) -> Iterator[str]:
    """Yield what may be in the way, in words."""
    if request.deadline_s is not None:
        yield f"the deadline of {seconds_text(request.deadline_s)}"
    if request.budget_j is not None:
        yield f"the budget of {joules_text(request.budget_j)}"
    if request.max_error is not None:
        yield f"the error budget of {request.max_error:.3g}"
    caps = np.isfinite(np.minimum(table.memory_bytes, table.slice_memory_bytes))
    if caps.any():
        yield f"the memory of {', '.join(np.array(table.device_names)[caps])}"
    if (table.group >= 0).any():
        yield "groups on one device each"
    if request.one_slice_per_device:
        yield "one slice a device"
    if request.min_slice_count > 1:
        yield f"at least {request.min_slice_count} slices"
    if request.max_slice_count is not None or table.max_slice_count is not None:
        yield "the limits on slices"
    if request.in_list_order:
        yield "slices of neighbours in list order"
