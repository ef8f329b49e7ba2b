"""Solve: run the methods, let the simulator judge what they propose, keep the best and the best bound."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError, NoPlanFoundError, UsageError
from mosaic_onnx.core.plans import Bound, Objective, Plan, Predicted, Slice, Transfer
from mosaic_onnx.planner.core.dominance import top_levels
from mosaic_onnx.planner.core.objective import broken_limits
from mosaic_onnx.planner.core.relaxation import relaxed
from mosaic_onnx.planner.core.request import TOLERANCE, Answer, MethodUnavailable, PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.request_constraints import at_least, meets
from mosaic_onnx.planner.core.simulate import Timeline, simulate, value
from mosaic_onnx.planner.core.transfers import HOST_MEMORY
from mosaic_onnx.planner.refusal_hints import with_hints
from mosaic_onnx.planner.registry import METHODS, method_named

UNITS: dict[Objective, Literal["seconds", "joules", "joule_seconds"]] = {
    "latency": "seconds",
    "throughput": "seconds",
    "energy": "joules",
    "edp": "joule_seconds",
}

GRACE = 0.05
"""So much of the time limit longer the plans of a method that took all its time are judged."""


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
    """Return the best plan that the asked method (or, for ``auto``, every fitting one) finds, with bound and gap.

    ``auto`` asks one method after the other and stops where a plan reaches a proved bound.

    Raises:
        InfeasibleError: proved: no plan satisfies the constraints.
        NoPlanFoundError: none was found, and that there is none was not proved.
        UsageError: there is no such method, or joules are asked for and the table has none.
    """
    try:
        return solve_once(table, request)
    except InfeasibleError as error:
        if request.method != "auto":
            raise
        refusal = with_hints(table, request, error, solve_once)
    raise refusal


def solve_once(table: CostTable, request: Request) -> Solution:
    """Return what ``solve`` returns; a refusal does not say what would be enough."""
    _check_request(table, request)
    table, states = top_levels(table, request)
    search = _Search(table, request)
    search.run()
    best = search.best
    if best is None:
        raise search.refusal()
    bound, dropped = _best_bound(search.answers, best.figure, request.objective)
    plan = plan_of(table, request, best.method, best.proposal, best.timeline, bound=bound)
    proposal = tuple(PlacedSlice(layers, states[state]) for layers, state in best.proposal)
    return Solution(plan, proposal, best.timeline, (*search.notes, *dropped))


class _Search:
    """Asks methods, judges what they propose, and remembers how near the failures came."""

    def __init__(self, table: CostTable, request: Request) -> None:
        self.table, self.request = table, request
        self.relaxed = relaxed(table)
        self.answers: list[tuple[str, Answer]] = []
        self.notes: list[str] = []
        self.judged: list[_Judged] = []
        self.best: _Judged | None = None
        self.judging_s = 0.0
        """what judging one plan took at most"""
        self.proof: InfeasibleError | None = None
        self.nearest: tuple[float, InfeasibleError] | None = None
        """how far, relative to its limits, the nearest plan that breaks them is off, and what it breaks"""

    def run(self) -> None:
        """Ask the method that the request names, or each that fits until one proves that nothing better exists."""
        until = time.monotonic() + self.request.time_limit_s
        late = until + GRACE * self.request.time_limit_s
        auto = self.request.method == "auto"
        names = [self.request.method]
        if auto:
            names = [name for name, method in METHODS.items() if method.automatic(self.table, self.request)]
        for name in names:
            method_named(name).import_libraries()
        for name in names:
            method = method_named(name)
            left = max(until - time.monotonic(), 0.0)
            if self.best is not None and not left:
                self.notes.append(f"method {name} did not run: the time limit was reached")
                continue
            seen = self.table if method.sees_all else self.relaxed
            try:
                answer = method.function(seen, replace(self.request, time_limit_s=left * _time_share(name, names)))
            except NoPlanFoundError as error:
                self._miss(error)
                continue
            except InfeasibleError as error:
                self.proof = self.proof or error
                if auto:
                    return
                continue
            except MethodUnavailable as error:
                if not auto:
                    raise
                self.notes.append(f"method {name} did not run: {error.message}")
                continue
            self.answers.append((name, answer))
            for number, proposal in enumerate(answer.proposals):
                is_late = time.monotonic() + self.judging_s > late
                if is_late and number and self.best is not None and not self.request.pareto:
                    break  # of a method that took all its time the first plan is judged nevertheless, of a front all
                self._offer(name, proposal)
            if self.best is not None and not self.request.pareto and self._is_proved(answer):
                return

    def refusal(self) -> InfeasibleError:
        """Return why there is no plan: a proof, or how near the search came."""
        if self.proof is not None:
            return self.proof
        tried = ", ".join(name for name, _ in self.answers) or "no method"
        words = f": {self.nearest[1].message} (the nearest plan found)" if self.nearest else ""
        return NoPlanFoundError(
            f"no plan was found that satisfies the constraints; tried {tried}{words}",
            "that none exists is not proved: allow more time (--time-limit), or relax a constraint",
        )

    def _is_proved(self, answer: Answer) -> bool:
        """Return whether the best plan is at the answer's bound; a bound that it beats proves nothing."""
        figure = self.best.figure if self.best is not None else float("inf")
        return answer.bound is not None and abs(figure - answer.bound) <= TOLERANCE * abs(figure)

    def _offer(self, method: str, proposal: Proposal) -> None:
        began = time.monotonic()
        try:
            judged = _judge(self.table, self.request, method, proposal)
        except InfeasibleError as error:
            self._miss(error, proposal)
            return
        self.judging_s = max(self.judging_s, time.monotonic() - began)
        self.judged.append(judged)
        if self.best is None or _is_better(judged, self.best):
            self.best = judged

    def _miss(self, error: InfeasibleError, proposal: Proposal = ()) -> None:
        """Remember the failure that came nearest."""
        distance = float("inf")
        if proposal:
            with suppress(InfeasibleError):
                timeline = simulate(self.table, proposal, self.request.schedule)
                distance = broken_limits(self.request, timeline) or distance
        if self.nearest is None or distance < self.nearest[0]:
            self.nearest = distance, error


def _time_share(name: str, names: Sequence[str]) -> float:
    """Return what part of the time that is left a method gets: not all where others follow that need some.

    Half is kept for ``refine``: where it runs, what comes before it searches without limits that the plan must keep.
    """
    if name == names[-1]:
        return 1.0
    share = METHODS[name].time_share
    return min(share, 0.5) if names[-1] == "refine" else share


def _is_better(one: _Judged, other: _Judged) -> bool:
    """Return whether a figure is smaller, or as small with fewer slices."""
    if abs(one.figure - other.figure) <= TOLERANCE * abs(other.figure):
        return len(one.proposal) < len(other.proposal)
    return one.figure < other.figure


def solve_front(table: CostTable, request: Request) -> tuple[Plan, ...]:
    """Return plans that none beats in both seconds and joules, fastest first, as far as the methods found them.

    Each plan's bound is of the joules of all plans that are faster than the next one: a gap of 0 throughout says that
    the front is whole.

    Raises:
        InfeasibleError: no proposal satisfies the constraints.
        UsageError: the table has no joules.
    """
    _check_request(table, request)
    search = _Search(table, request)
    search.run()
    if not search.judged:
        raise search.refusal()
    front: list[_Judged] = []
    for one in sorted(search.judged, key=lambda one: (one.timeline.seconds, one.timeline.joules or 0.0)):
        if not front or (one.timeline.joules or 0.0) < (front[-1].timeline.joules or 0.0) * (1 - TOLERANCE):
            front.append(one)
    plans = [plan_of(table, request, one.method, one.proposal, one.timeline) for one in front]
    proof = next((answer for _, answer in search.answers if answer.least_j is not None), None)
    return tuple(plans) if proof is None else _with_gaps(plans, proof)


def _with_gaps(front: list[Plan], proof: Answer) -> tuple[Plan, ...]:
    """Return the plans of a front, each with the least joules of any plan that is faster than the next one."""
    faster_than = [plan.predicted.seconds * (1 - TOLERANCE) for plan in front[1:]] + [float("inf")]
    plans = []
    for plan, deadline_s in zip(front, faster_than, strict=True):
        joules = plan.predicted.joules or 0.0
        least_j = min(proof.least_j(deadline_s), joules) if proof.least_j is not None else 0.0
        gap = joules / least_j - 1 if least_j > 0 else None
        plans.append(replace(plan, bound=Bound(least_j, "joules", proof.least_j_method), gap=gap))
    return tuple(plans)


def plan_of(
    table: CostTable,
    request: Request,
    method: str,
    proposal: Proposal,
    timeline: Timeline,
    *,
    bound: Bound | None = None,
) -> Plan:
    """Return a proposal as a plan with the simulator's figures; slices in start order, free transfers left out."""
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
    if request.needs_joules and table.layer_j is None and table.layer_names:
        raise UsageError(
            "the profile has no joules, so only time can be planned",
            "use --objective latency, or measure again with a meter or declared power: "
            "mosaic-onnx profile MODEL.onnx --watts DEVICE=IDLE,BUSY",
        )


def _judge(table: CostTable, request: Request, method: str, proposal: Proposal) -> _Judged:
    """Return the figure of one proposal, cut into more slices first where too few are asked for."""
    proposal = at_least(proposal, min(request.min_slice_count, len(table.layer_names)))
    timeline = simulate(table, proposal, request.schedule)
    meets(table, request, proposal, timeline)
    return _Judged(value(timeline, request.objective), method, proposal, timeline)


def _best_bound(
    answers: list[tuple[str, Answer]], figure: float, objective: Objective
) -> tuple[Bound | None, list[str]]:
    """Return the largest bound that the best figure does not contradict, and notes on those that it does."""
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
