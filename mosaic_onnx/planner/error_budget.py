"""Plans whose layers' errors keep a budget.

A plan's error is a sum over its layers, as its joules are. So the fastest plan within a budget is found by the methods
that know a budget of joules (``errors_as_joules``): exact where those are, with their bounds. Besides, and for every
other objective and schedule, errors have a price (Lagrange) that is added to what a layer costs, and the least price is
sought at which the best plan keeps the budget. What that leaves of the budget, moves of single layers use up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.chain.label_setting import labels, labels_apply
from mosaic_onnx.planner.chain.method import interval
from mosaic_onnx.planner.concurrent.method import heft
from mosaic_onnx.planner.core.deadline import TimeUpError, part_of
from mosaic_onnx.planner.core.infeasibility import check_possible
from mosaic_onnx.planner.core.objective import rank_of
from mosaic_onnx.planner.core.request import Answer, Proposal, Request, within
from mosaic_onnx.planner.core.request_constraints import error_sum
from mosaic_onnx.planner.core.simulate import simulate, value
from mosaic_onnx.planner.search.moves import improve
from mosaic_onnx.planner.sequential.method import sequential, sequential_fits
from mosaic_onnx.planner.throughput.method import throughput

INF = float("inf")
STEPS, SLOW_STEPS = 24, 6
"""Number of prices are tried, with a fast method and with one that takes seconds."""
UNLIMITED_SHARE = 0.3
"""Of the time limit, what the best plan without a budget gets."""
PRICED_SHARE = 0.4
"""Of what that leaves, what errors at a price get where errors as joules come after them."""
JOULES_SHARE = 0.8
"""Of what those leave, what errors as joules get; the rest is for improving the best plan."""
GROWTH = 8.0
"""Factor by which the price of an error grows until a plan keeps the budget."""

Find = Callable[[CostTable, Request], Answer]


def error_budget(table: CostTable, request: Request) -> Answer:
    """Return plans that keep ``max_error``, and a bound where the objective is the latency of one at a time.

    Raises:
        InfeasibleError: proved: no plan keeps the budget, or none exists at all.
    """
    if not table.layer_names:
        return Answer(((),), 0.0, "nothing to do")
    check_possible(table)
    budget = INF if request.max_error is None else request.max_error
    until = time.monotonic() + request.time_limit_s
    free = replace(request, max_error=None, time_limit_s=UNLIMITED_SHARE * request.time_limit_s)
    _check_least(table, budget)
    table = _without_breakers(table, budget)
    answers = [_unlimited(table, free)]
    if not _holds_best(table, free, answers[0], budget):
        is_sum = _is_sum_of_seconds(request)
        answers.append(Answer(_priced(table, free, budget, part_of(until, PRICED_SHARE if is_sum else 1.0))))
        if is_sum:
            answers.append(_as_joules(table, free, budget, answers[-1].proposals, until))
    proposals = tuple(dict.fromkeys(one for answer in reversed(answers) for one in answer.proposals))
    bounded = [answer for answer in answers if answer.bound is not None]
    best = max(bounded, key=lambda answer: answer.bound or 0.0, default=Answer(()))
    return Answer(proposals, best.bound, best.bound_method)


def has_error_budget(table: CostTable, request: Request) -> bool:
    """Return whether ``auto`` runs it."""
    return request.max_error is not None and table.layer_error is not None


def _check_least(table: CostTable, budget: float) -> None:
    """Check whether the exactest states of all layers keep the budget.

    Raises:
        InfeasibleError: they do not.
    """
    least = float(np.where(np.isfinite(table.layer_s), _errors(table), INF).min(axis=1).sum())
    if not within(least, budget):
        raise InfeasibleError(
            f"no plan keeps the error budget of {budget:.3g}: the exactest states add up to {least:.3g}",
            "raise --max-error, or let an exacter device take part",
        )


def _without_breakers(table: CostTable, budget: float) -> CostTable:
    """Return the table without the states that break the budget by one layer alone."""
    breaks = _errors(table) > budget * (1 + 1e-9)
    if not breaks.any():
        return table
    joules = None if table.layer_j is None else np.where(breaks, INF, table.layer_j)
    return replace(table, layer_s=np.where(breaks, INF, table.layer_s), layer_j=joules)


def _errors(table: CostTable) -> Floats:
    """Return [L, S] errors."""
    return np.zeros_like(table.layer_s) if table.layer_error is None else table.layer_error


def _is_sum_of_seconds(request: Request) -> bool:
    return request.schedule == "sequential" and request.objective == "latency" and request.budget_j is None


def _unlimited(table: CostTable, request: Request) -> Answer:
    """Return the best plans whatever their error; their bound holds for plans within a budget too."""
    if not sequential_fits(table, request):
        return (throughput if request.objective == "throughput" else heft)(table, request)
    found = sequential(table, request)
    also = _fast(table, request)
    return replace(found, proposals=(*found.proposals, *also.proposals))


def _fast(table: CostTable, request: Request) -> Answer:
    """Return slices along a chain or one order, in a moment; none where there are none."""
    try:
        return (labels if labels_apply(table, request) else interval)(table, request)
    except InfeasibleError:
        return Answer(())


def _holds_best(table: CostTable, request: Request, answer: Answer, budget: float) -> bool:
    """Return whether the best plan of all keeps the budget."""
    figures = []
    for proposal in answer.proposals:
        try:
            figure = value(simulate(table, proposal, request.schedule), request.objective)
        except InfeasibleError:
            continue
        figures.append((figure, not within(error_sum(table, proposal), budget)))
    return bool(figures) and not min(figures)[1]


def _priced(table: CostTable, request: Request, budget: float, until: float) -> tuple[Proposal, ...]:
    """Return the best plans at several prices of an error, the least price among them that keeps the budget.

    One price is tried whatever the time is, and the exactest states.
    """
    find, steps = _finder(table, request)
    finite = np.where(np.isfinite(table.layer_s), table.layer_s, 0.0)
    errors = _errors(table)
    low, high = 0.0, INF
    price = float(finite.max()) / max(budget, float(errors[errors > 0].min(initial=1.0)) * 1e-3)
    found: list[Proposal] = []
    for _ in range(steps):
        try:
            proposals = find(_dearer(table, request, price), request).proposals
        except InfeasibleError:
            break
        found += proposals
        if any(within(error_sum(table, one), budget) for one in proposals):
            high = price
        else:
            low = price
        if high <= 1.05 * low or time.monotonic() > until:
            break
        price = (low * high) ** 0.5 if low and high < INF else (low * GROWTH if high == INF else high / GROWTH)
    found += _exactest(table, request, find)
    return tuple(dict.fromkeys(found))


def _exactest(table: CostTable, request: Request, find: Find) -> tuple[Proposal, ...]:
    """Return the best plans of the exactest states of every layer."""
    errors = np.where(np.isfinite(table.layer_s), _errors(table), INF)
    exact = errors <= errors.min(axis=1, keepdims=True)
    joules = None if table.layer_j is None else np.where(exact, table.layer_j, INF)
    try:
        only = replace(table, layer_s=np.where(exact, table.layer_s, INF), layer_j=joules)
        return find(only, request).proposals
    except InfeasibleError:
        return ()


def _finder(table: CostTable, request: Request) -> tuple[Find, int]:
    """Return what plans at one price, and how many prices there is time for."""
    if sequential_fits(table, request):
        return _fast, STEPS
    find = throughput if request.objective == "throughput" else heft
    slow = replace(request, time_limit_s=request.time_limit_s / SLOW_STEPS)
    return (lambda one, _: find(one, slow)), SLOW_STEPS


def _dearer(table: CostTable, request: Request, price: float) -> CostTable:
    """Return the table with errors paid for, in joules where joules are what is made small."""
    errors = price * _errors(table)
    in_joules = request.objective == "energy" and table.layer_j is not None
    layer_s = table.layer_s if in_joules else table.layer_s + errors
    layer_j = table.layer_j + errors if in_joules and table.layer_j is not None else table.layer_j
    sums = np.concatenate([np.zeros((1, errors.shape[1])), errors.cumsum(axis=0)])
    segments = {}
    for (first, last, state), (seconds, joules) in table.segments.items():
        extra = float(sums[last + 1, state] - sums[first, state])
        more = None if joules is None else joules + extra
        segments[first, last, state] = (seconds, more) if in_joules else (seconds + extra, joules)
    return replace(table, layer_s=layer_s, layer_j=layer_j, segments=segments)


def errors_as_joules(table: CostTable) -> CostTable:
    """Return the table with errors in the place of joules: then a budget of joules is one of errors."""
    return replace(
        table,
        layer_j=np.where(np.isfinite(table.layer_s), _errors(table), INF),
        slice_j=np.zeros_like(table.slice_j),
        idle_w=np.zeros_like(table.idle_w),
        to_host_j=np.zeros_like(table.to_host_j),
        from_host_j=np.zeros_like(table.from_host_j),
        direct_j={pair: np.zeros_like(joules) for pair, joules in table.direct_j.items()},
        switch_j=np.zeros_like(table.switch_j),
        segments={key: (seconds, None) for key, (seconds, _) in table.segments.items()},
    )


def _as_joules(table: CostTable, request: Request, budget: float, starts: tuple[Proposal, ...], until: float) -> Answer:
    """Return what the methods for a budget of joules say, and the best start after moves within the budget."""
    limit_s = JOULES_SHARE * max(until - time.monotonic(), 0.0)
    swapped, limited = errors_as_joules(table), replace(request, budget_j=budget, time_limit_s=limit_s)
    try:
        found = sequential(swapped, limited)
    except InfeasibleError as error:
        raise type(error)(f"no plan keeps the error budget of {budget:.3g}", "raise --max-error") from error
    rank = rank_of(limited)
    ranked = []
    for proposal in starts:
        try:
            timeline = simulate(swapped, proposal)
        except InfeasibleError:
            continue
        ranked.append((rank(timeline.seconds, timeline.joules or 0.0), proposal))
    if not ranked:
        return found
    best = min(ranked)[1]
    with suppress(TimeUpError):
        best = improve(swapped, best, rank, until)
    how = found.bound_method.replace("joules", "errors")
    return Answer((best, *found.proposals), found.bound, how)
