"""Solve: run the methods, let the simulator judge what they propose, keep the best and the best bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mosaic_onnx.core.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.core.plans import Bound, Objective, Plan, Predicted, Slice, Transfer
from mosaic_onnx.planner.core.dominance import top_levels
from mosaic_onnx.planner.core.request import TOLERANCE, Answer, MethodUnavailable, Placed, Proposal, Request
from mosaic_onnx.planner.core.request_constraints import at_least, meets
from mosaic_onnx.planner.core.simulate import Timeline, simulate, value
from mosaic_onnx.planner.core.transfers import HOST_MEMORY
from mosaic_onnx.planner.registry import METHODS, method_named

UNITS: dict[Objective, Literal["seconds", "joules", "joule_seconds"]] = {
    "latency": "seconds",
    "throughput": "seconds",
    "energy": "joules",
    "edp": "joule_seconds",
}


@dataclass(frozen=True)
class Solution:
    """The best proposal that the methods made.

    Attributes:
        plan: the plan with all names filled in (nodes and constraints are the caller's).
        proposal: what was judged.
        timeline: the simulator's word on it.
        notes: what the user should know: methods that could not run, bounds that were dropped.
    """

    plan: Plan
    proposal: Proposal
    timeline: Timeline
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Judged:
    """One proposal with its figure."""

    figure: float
    method: str
    proposal: Proposal
    timeline: Timeline


def solve(table: CostTable, request: Request) -> Solution:
    """The best plan that the asked method (or, for ``auto``, every fitting one) finds, with bound and gap.

    Raises:
        InfeasibleError: no proposal satisfies the constraints.
        UsageError: there is no such method, or joules are asked for and the table has none.
    """
    _check_request(table, request)
    table, states = top_levels(table, request)
    answers, notes, refusal = _ask(table, request)
    best: _Judged | None = None
    for method, answer in answers:
        for proposal in answer.proposals:
            if request.in_list_order and not _is_listed(proposal):
                continue
            try:
                judged = _judge(table, request, method, proposal)
            except InfeasibleError as error:
                refusal = refusal or error
                continue
            if best is None or _is_better(judged, best):
                best = judged
    if best is None:
        raise refusal or InfeasibleError("no method found a plan that satisfies the constraints")
    bound, dropped = _best_bound(answers, best.figure, request.objective)
    plan = plan_of(table, request, best.method, best.proposal, best.timeline, bound=bound)
    proposal = tuple(Placed(layers, states[state]) for layers, state in best.proposal)
    return Solution(plan, proposal, best.timeline, (*notes, *dropped))


def _is_listed(proposal: Proposal) -> bool:
    """Whether every slice holds neighbours of the list of layers, in its order."""
    return all(layers == tuple(range(layers[0], layers[0] + len(layers))) for layers, _ in proposal)


def _is_better(one: _Judged, other: _Judged) -> bool:
    """Smaller, or as small with fewer slices."""
    if abs(one.figure - other.figure) <= TOLERANCE * abs(other.figure):
        return len(one.proposal) < len(other.proposal)
    return one.figure < other.figure


def solve_front(table: CostTable, request: Request) -> tuple[Plan, ...]:
    """Plans that none beats in both seconds and joules, fastest first; which of them are found is the methods' work.

    Raises:
        InfeasibleError: no proposal satisfies the constraints.
        UsageError: the table has no joules.
    """
    _check_request(table, request)
    answers, _, refusal = _ask(table, request)
    judged: list[_Judged] = []
    for method, answer in answers:
        for proposal in answer.proposals:
            try:
                judged.append(_judge(table, request, method, proposal))
            except InfeasibleError as error:
                refusal = refusal or error
    if not judged:
        raise refusal or InfeasibleError("no method found a plan that satisfies the constraints")
    front: list[_Judged] = []
    for one in sorted(judged, key=lambda one: (one.timeline.seconds, one.timeline.joules or 0.0)):
        if not front or (one.timeline.joules or 0.0) < (front[-1].timeline.joules or 0.0) * (1 - TOLERANCE):
            front.append(one)
    return tuple(plan_of(table, request, one.method, one.proposal, one.timeline) for one in front)


def plan_of(
    table: CostTable,
    request: Request,
    method: str,
    proposal: Proposal,
    timeline: Timeline,
    *,
    bound: Bound | None = None,
) -> Plan:
    """The plan that says of a proposal what the simulator says; slices in start order, free transfers left out."""
    figure = value(timeline, request.objective)
    order = sorted(range(len(proposal)), key=lambda k: timeline.slice_times[k][0])
    slices = tuple(
        Slice(proposal[k].layers, table.state_names[proposal[k].state], *timeline.slice_times[k]) for k in order
    )
    has_joules = timeline.joules is not None
    transfers = [
        Transfer(
            table.tensor_names[copy.tensor],
            "host" if copy.source == HOST_MEMORY else table.device_names[copy.source],
            "host" if copy.destination == HOST_MEMORY else table.device_names[copy.destination],
            table.rows.tensor_bytes[copy.tensor],
            *times,
        )
        for copy, times in zip(timeline.copies, timeline.copy_times, strict=True)
        if copy.seconds > 0 or (has_joules and copy.joules > 0)
    ]
    return Plan(
        objective=request.objective,
        schedule=request.schedule,
        method=method,
        slices=slices,
        transfers=tuple(sorted(transfers, key=lambda transfer: transfer.start_s)),
        predicted=Predicted(timeline.seconds, timeline.joules, timeline.interval_seconds),
        bound=bound,
        gap=None if bound is None or bound.value <= 0 else max(0.0, figure / bound.value - 1),
    )


def _check_request(table: CostTable, request: Request) -> None:
    if request.method != "auto":
        method_named(request.method)
    needs_joules = request.objective in ("energy", "edp") or request.budget_j is not None or request.pareto
    if needs_joules and table.layer_j is None and table.layer_names:
        raise UsageError("the profile has no joules, so only time can be planned", "use --objective latency")


def _ask(table: CostTable, request: Request) -> tuple[list[tuple[str, Answer]], list[str], InfeasibleError | None]:
    """What each method answers, notes on those that could not, and the first proof that there is no plan."""
    if request.method == "auto":
        names = [name for name, method in METHODS.items() if method.automatic(table, request)]
    else:
        names = [request.method]
    answers: list[tuple[str, Answer]] = []
    notes: list[str] = []
    refusal: InfeasibleError | None = None
    for name in names:
        try:
            answers.append((name, method_named(name).function(table, request)))
        except InfeasibleError as error:
            refusal = refusal or error
        except MethodUnavailable as error:
            if request.method != "auto":
                raise
            notes.append(f"method {name} did not run: {error.message}")
    return answers, notes, refusal


def _judge(table: CostTable, request: Request, method: str, proposal: Proposal) -> _Judged:
    """The figure of one proposal, cut into more slices first where too few are asked for."""
    proposal = at_least(proposal, min(request.min_slice_count, len(table.layer_names)))
    timeline = simulate(table, proposal, request.schedule)
    meets(table, request, proposal, timeline)
    return _Judged(value(timeline, request.objective), method, proposal, timeline)


def _best_bound(
    answers: list[tuple[str, Answer]], figure: float, objective: Objective
) -> tuple[Bound | None, list[str]]:
    """The largest bound that the best figure does not contradict, and notes on those that it does."""
    bounds = sorted(
        ((answer.bound, answer.bound_method or name) for name, answer in answers if answer.bound is not None),
        reverse=True,
    )
    notes: list[str] = []
    for bound, method in bounds:
        if bound <= figure * (1 + TOLERANCE):
            return Bound(min(bound, figure), UNITS[objective], method), notes
        notes.append(f"dropped a bound of {bound:.9g} ({method}): the plan beats it, which is a bug in mosaic-onnx")
    return None, notes
