"""Concurrent plans and bounds span by span: list scheduling, then moves and the solver where the gap is largest."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.concurrent.bound import concurrent_bound, earliest_ends
from mosaic_onnx.planner.concurrent.cpsat_model import ConcurrentModel
from mosaic_onnx.planner.concurrent.critical_path_search import improve
from mosaic_onnx.planner.concurrent.list_scheduling import Lister, Schedule
from mosaic_onnx.planner.concurrent.separators import (
    INF,
    Case,
    Joined,
    Known,
    Span,
    case_count,
    join,
    key_of,
    relaxed,
    single,
    span_table,
    spans,
)
from mosaic_onnx.planner.concurrent.tasks import Tasks, single_tasks, worthwhile_states
from mosaic_onnx.planner.core.deadline import TimeUpError, check_time
from mosaic_onnx.planner.core.objective_weights import LATENCY, weigh
from mosaic_onnx.planner.core.ortools import new_solver
from mosaic_onnx.planner.core.request import TOLERANCE
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.throughput.area_bound import fractional_area

EFFORT_S = (0.1, 0.4, 1.6, 6.4)
"""Seconds that one span gets when it is looked at for the first, second … time after the quick look."""
MAX_CASES = 20_000
"""So many spans, each between each pair of states of its gates, can be looked at."""
SOLVED_LAYERS = 120
"""Spans of more layers are not given to the solver."""


@dataclass(frozen=True)
class _Looked:
    """Bound and plan of a span, the means to improve them, and how often that was done."""

    known: Known
    lister: Lister | None
    schedule: Schedule | None
    priority: list[float]
    effort: int

    @property
    def gap_s(self) -> float:
        """Between plan and bound."""
        return self.known.seconds - self.known.bound_s

    @property
    def closed(self) -> bool:
        """Nothing is left to find out, or nothing that this search can."""
        return self.gap_s <= TOLERANCE * self.known.seconds or self.effort >= len(EFFORT_S) or self.lister is None


def by_spans(table: CostTable, seed: int, solve: bool, deadline: float) -> Joined | None:
    """Bound and plan, each joined from what was found out about the spans.

    None where the model is one span, or there are too many cases.

    Args:
        table: costs.
        seed: of searches that draw by chance.
        solve: use the solver.
        deadline: ``time.monotonic()`` at which to stop; None is the answer where there was no time to look at every
            span.
    """
    if time.monotonic() > deadline:
        return None
    try:
        search = _Search(relaxed(table), seed, solve, deadline)
        cases = case_count(search.states, search.parts)
        return search.run() if len(search.parts) > 1 and cases <= MAX_CASES else None
    except TimeUpError:
        return None


class _Search:
    """One search; equal spans are looked at once, and only those that the result may hang on."""

    def __init__(self, table: CostTable, seed: int, solve: bool, deadline: float) -> None:
        self.table, self.seed, self.solve, self.deadline = table, seed, solve, deadline
        self.parts = spans(table)
        self.states = [np.flatnonzero(row).tolist() for row in worthwhile_states(table, deadline)]
        self.single: dict[Case, Known] = {}
        self.bounds: dict[tuple[int, int], dict[int, float]] = {}
        self.keys: dict[Case, bytes] = {}
        self.looked: dict[bytes, _Looked] = {}

    def run(self) -> Joined:
        """Join what is known, find out more of what the result hangs on, until that is all or the time is up."""
        while True:
            joined = join(self.states, self.parts, self._known)
            late = time.monotonic() > self.deadline
            unseen = [case for case in joined.bound_cases if case not in self.single and case not in self.keys]
            if unseen and not (late and joined.proposal is not None):
                for case in unseen:
                    self._look(case)
                continue
            open_keys = [key for key in self._keys(joined) if not self.looked[key].closed]
            proved = joined.seconds <= joined.bound_s * (1 + TOLERANCE)
            if late or proved or not open_keys:
                return joined
            least = min(self.looked[key].effort for key in open_keys)
            for key in open_keys:
                if self.looked[key].effort == least and time.monotonic() < self.deadline:
                    self.looked[key] = self._more(self.looked[key])

    def _keys(self, joined: Joined) -> list[bytes]:
        """Return the spans that the result hangs on."""
        cases = (*joined.bound_cases, *joined.plan_cases)
        return list(dict.fromkeys(self.keys[case] for case in cases if case in self.keys))

    def _known(self, case: Case) -> Known:
        number, begin, end = case
        span = self.parts[number]
        if len(span.layers) == 1:
            if case not in self.single:
                self.single[case] = single(self.table, span, case)
            return self.single[case]
        if case in self.keys:
            return self.looked[self.keys[case]].known
        if (number, begin) not in self.bounds:
            self.bounds[number, begin] = self._bounds(span, begin)
        return Known(self.bounds[number, begin][end], INF, ())

    def _bounds(self, span: Span, begin: int) -> dict[int, float]:
        """By the state of the gate at its end: a lower bound of the span from one state of the gate before it."""
        check_time(self.deadline)
        table = span_table(self.table, span, begin, -1)
        if span.end is None:
            return {-1: concurrent_bound(table, quick=True)[0]}
        weighed = weigh(table, LATENCY)
        row = table.layer_names.index(self.table.layer_names[span.end])
        ends = earliest_ends(table, weighed)[row]
        area_s = fractional_area(table, quick=True)
        return {end: max(float(ends[end]), area_s) for end in self.states[span.end]}

    def _look(self, case: Case) -> None:
        """Take a quick look at a case, unless its equal has been looked at."""
        number, begin, end = case
        check_time(self.deadline)
        table = span_table(self.table, self.parts[number], begin, end)
        self.keys[case] = key_of(table)
        if self.keys[case] not in self.looked:
            self.looked[self.keys[case]] = _quick_look(table)

    def _more(self, looked: _Looked) -> _Looked:
        """Moves, then the solver, from the best plan known."""
        if looked.lister is None or looked.schedule is None:
            return looked
        lister = looked.lister
        until = min(self.deadline, time.monotonic() + EFFORT_S[looked.effort])
        solve = self.solve and len(lister.tasks.layers) <= SOLVED_LAYERS
        schedule = looked.schedule
        if looked.effort == 0:
            looked = replace(looked, known=_raised(looked.known, concurrent_bound(lister.table)[0]))
        if not solve or looked.effort == 0:
            share = until if not solve else (time.monotonic() + until) / 2
            schedule = improve(lister, schedule, looked.priority, self.seed + looked.effort, share)
        known = looked.known
        if schedule.seconds < known.seconds:
            known = replace(known, seconds=schedule.seconds, proposal=schedule.proposal(lister.tasks))
        if solve:
            known = self._solved(lister.table, known, until - time.monotonic())
        return replace(looked, known=known, schedule=schedule, effort=looked.effort + 1)

    def _solved(self, table: CostTable, known: Known, limit_s: float) -> Known:
        """Return the same, better by what the solver finds and proves."""
        from ortools.sat.python import cp_model

        single = [(layer,) for layer in range(len(table.layer_names))]
        model = ConcurrentModel(table, single, known.seconds, known.bound_s)
        model.suggest(known.proposal, simulate(table, known.proposal, "concurrent").slice_times)
        solver = new_solver(limit_s, self.seed)
        status = solver.solve(model.model)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return known
        bound_s = max(known.bound_s, min(solver.best_objective_bound * model.unit_s, known.seconds))
        proposal = model.proposal(solver)
        seconds = simulate(table, proposal, "concurrent").seconds
        if seconds < known.seconds:
            return Known(min(bound_s, seconds), seconds, proposal)
        return replace(known, bound_s=bound_s)


def _raised(known: Known, bound_s: float) -> Known:
    """Return the same with a better bound, if it is one."""
    return replace(known, bound_s=min(max(known.bound_s, bound_s), known.seconds))


def _quick_look(table: CostTable) -> _Looked:
    """Bound and the best of a few list schedules."""
    bound_s, _ = concurrent_bound(table, quick=True)
    if bound_s == INF:
        return _Looked(Known(INF, INF, ()), None, None, [], 0)
    tasks: Tasks = single_tasks(table)
    lister = Lister(table, tasks)
    upward, fastest = lister.heft_priority(), lister.fastest_priority()
    starts = [(lister.schedule(upward), upward), (lister.schedule(fastest), fastest)]
    if min(schedule.seconds for schedule, _ in starts) > bound_s * (1 + TOLERANCE):
        starts.append((lister.schedule(upward, outlook=lister.peft_outlook()), upward))
    best, priority = min(starts, key=lambda pair: pair[0].seconds)
    if best.seconds == INF:
        return _Looked(Known(bound_s, INF, ()), None, None, [], 0)
    return _Looked(Known(bound_s, best.seconds, best.proposal(tasks)), lister, best, priority, 0)
