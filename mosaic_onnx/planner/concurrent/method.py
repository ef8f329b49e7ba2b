"""Concurrent plans without a solver: list scheduling seeded by sequential plans, improved, its slices merged.

Starts are list schedules (HEFT, PEFT, longest path) of single layers and of rows of layers, and sequential plans: as
they are, and their placement listed anew. The best are improved (``relisting``), judged by the simulator, merged, and,
where slices have features that listing does not see, polished.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.concurrent.bound import concurrent_bound
from mosaic_onnx.planner.concurrent.critical_path_search import improve
from mosaic_onnx.planner.concurrent.list_scheduling import Lister, Schedule
from mosaic_onnx.planner.concurrent.span_search import by_spans
from mosaic_onnx.planner.concurrent.tasks import Tasks, chain_tasks, single_tasks
from mosaic_onnx.planner.core.deadline import TimeUpError, part_of
from mosaic_onnx.planner.core.objective_weights import ENERGY, weigh
from mosaic_onnx.planner.core.orders import candidate_orders
from mosaic_onnx.planner.core.ortools import available
from mosaic_onnx.planner.core.request import TOLERANCE, Answer, Proposal, Request
from mosaic_onnx.planner.core.request_constraints import keeps_shape
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.placement.relax import relax
from mosaic_onnx.planner.search.merging import merge_harmless
from mosaic_onnx.planner.search.simulated_search import polish, rank_of
from mosaic_onnx.planner.sequential.capped_runs import capped_plans
from mosaic_onnx.planner.sequential.method import sequential
from mosaic_onnx.planner.throughput.method import throughput

POLISHED_LAYERS = 60
"""Up to so many layers plans are polished in every way; of larger models only the best, without caps slice by slice."""
KEPT = 6
"""Number of of the best plans are merged and offered."""
SPREAD_PAIRS = 40_000
"""Up to so many pairs of layer and device plans for throughput are made as seeds."""
SPAN_LAYERS = 12_000
"""Models of more layers are not cut at their gates."""
JUDGED, MERGED = 3, 6
"""Time for judging so many plans is kept back at the end; joining slices takes as long as judging so many."""
JUDGED_SHARE = 0.1
"""Of the time of seeds, what judging them gets at least, however long they took."""
LISTED = 0.1
"""Of the time limit, what list scheduling gets at least, unless layers are very many."""
LARGE_LAYERS = 5_000
"""Of models with more layers than this, sequential plans are what the search begins with."""
LEAST_SOLVER_S = 1.0
"""In less time the solver reads its model and little more; the heuristics use it better."""
MAX_CHOICES, MAX_CAPPED_CHOICES = 6_000, 1_500
"""Up to so many pairs of layer and state the solver is tried; the second where memory is capped."""


def for_concurrent(table: CostTable, request: Request) -> bool:
    """Return whether ``auto`` runs it: for concurrent schedules, unless the solver takes this on as well."""
    wanted = request.schedule == "concurrent" and request.objective != "throughput"
    return wanted and not (solver_applies(table, request) and available())


def solver_applies(table: CostTable, request: Request) -> bool:
    """Return whether ``auto`` runs the solver: for the makespan of a concurrent schedule, not too large, given time."""
    wanted = (
        request.schedule == "concurrent" and request.objective == "latency" and request.time_limit_s >= LEAST_SOLVER_S
    )
    return wanted and table.layer_s.size <= (MAX_CAPPED_CHOICES if has_caps(table) else MAX_CHOICES)


def heft(table: CostTable, request: Request) -> Answer:
    """Return concurrent plans, and a lower bound.

    Raises:
        InfeasibleError: proved: no sequential plan exists, and so none at all.
    """
    began = time.monotonic()
    until = began + request.time_limit_s
    judge = Judge(table, request)
    bound, how = lower_bound(table, request, part_of(until, 0.15))
    plans = seed_plans(table, request, judge, seed_share(table, request, 0.2) * max(until - time.monotonic(), 0.0))
    until -= JUDGED * judge.longest_s
    joined = None
    if len(table.layer_names) <= SPAN_LAYERS:
        joined = by_spans(table, request.seed, False, part_of(until, 0.3))
    if joined is not None:
        plans += [joined.proposal] if joined.proposal is not None else []
        if request.objective == "latency" and joined.bound_s > bound:
            bound, how = joined.bound_s, "critical paths and areas of the spans between gates"
    goal_s = bound if request.objective == "latency" else 0.0
    plans += listed(table, request, plans, goal_s, part_of(until, 0.3 if polished_whole(table) else 0.6))
    return Answer(finished(table, request, judge, plans, until), bound, how)


def seed_share(table: CostTable, request: Request, share: float) -> float:
    """Return the part of the time that seeds get: more where listing knows less than they, or layers are many."""
    if request.one_slice_per_device:
        return 0.5
    if len(table.layer_names) > LARGE_LAYERS:
        return 0.75 if len(table.layer_names) > SPAN_LAYERS else 0.5
    return 2 * share if has_caps(table) else share


def lower_bound(table: CostTable, request: Request, until: float) -> tuple[float, str]:
    """Return a lower bound of the objective over all concurrent plans, and how it was proved.

    Joules: execution and copies are those of a sequential plan, so its bound without idle power holds, and idle power
    is drawn for the makespan's bound at least.
    """
    seconds, how = concurrent_bound(table, until=until)
    if request.objective == "latency" or table.layer_j is None:
        return seconds, how
    idle = float(table.idle_w.sum())
    awake = replace(table, idle_w=np.zeros_like(table.idle_w))
    relaxed = relax(awake, weigh(awake, ENERGY), 0.1 * request.time_limit_s)
    joules = relaxed.bound + idle * seconds
    if request.objective == "energy":
        return joules, f"{relaxed.how}; idle power over the {how}"
    return joules * seconds, f"{relaxed.how}, times the {how}"


def polished_whole(table: CostTable) -> bool:
    """Return whether the best plans are polished in every way though layers are many: listing knows little of caps."""
    return has_caps(table) and len(table.layer_names) <= LARGE_LAYERS


def has_caps(table: CostTable) -> bool:
    """Return whether any device's memory is capped."""
    return bool(np.isfinite(np.minimum(table.memory_bytes, table.slice_memory_bytes)).any())


def seed_plans(table: CostTable, request: Request, judge: Judge, time_limit_s: float) -> list[Proposal]:
    """Return good plans of the other schedule and objectives, which this search must not fall behind.

    Limits are left out, since a concurrent plan may keep them where these do not; one slice a device is not.
    """
    began = time.monotonic()
    until = began + time_limit_s
    share = 0.9 if len(table.layer_names) > LARGE_LAYERS else 0.3 if has_caps(table) else 0.6
    alone = request.one_slice_per_device
    asked = Request(request.objective, one_slice_per_device=alone, time_limit_s=share * time_limit_s, seed=request.seed)
    answers = [sequential(table, asked)]
    capped: list[Proposal] = []
    with suppress(TimeUpError):
        orders = candidate_orders(table, until=until)
        for plan in capped_plans(table, replace(asked, schedule="concurrent"), orders, part_of(until, 0.8)):
            capped.append(plan)
    if request.objective != "latency" and request.deadline_s is not None:
        answers.append(sequential(table, replace(asked, objective="latency")))
    left = until - time.monotonic()
    if left > 0 and len(table.layer_names) * len(table.device_names) <= SPREAD_PAIRS:
        with suppress(InfeasibleError):
            answers.append(throughput(table, replace(asked, objective="throughput", time_limit_s=left)))
    plans = dict.fromkeys([*reversed(capped), *(plan for answer in answers for plan in answer.proposals)])
    return judge.best_first(plans, max(until, time.monotonic() + JUDGED_SHARE * time_limit_s))


class Judge:
    """Ranks plans by the simulator, each once.

    Attributes:
        longest_s: what judging one plan took at most.
    """

    def __init__(self, table: CostTable, request: Request) -> None:
        """Prepare for plans of a request."""
        self.table, self.request, self.rank = table, request, rank_of(request)
        self.longest_s = 0.0
        self._known: dict[Proposal, float] = {}

    def best_first(self, plans: Iterable[Proposal], until: float) -> list[Proposal]:
        """Return those of the plans that can run, best first; as many as are judged until then, one at least."""
        judged: dict[Proposal, float] = {}
        for plan in plans:
            if plan not in self._known:
                if judged and time.monotonic() + self.longest_s > until:
                    continue
                self._known[plan] = self._judged(plan)
            if self._known[plan] < float("inf"):
                judged[plan] = self._known[plan]
        return sorted(judged, key=judged.__getitem__)

    def _judged(self, plan: Proposal) -> float:
        if not keeps_shape(self.table, self.request, plan):
            return float("inf")
        began = time.monotonic()
        try:
            return self.rank(simulate(self.table, plan, self.request.schedule))
        except InfeasibleError:
            return float("inf")
        finally:
            self.longest_s = max(self.longest_s, time.monotonic() - began)


def listed(
    table: CostTable, request: Request, seeds: Sequence[Proposal], bound: float, deadline: float
) -> list[Proposal]:
    """Return plans by list scheduling; no time is spent on improving one that meets the bound."""
    plans: list[Proposal] = []
    if len(table.layer_names) <= LARGE_LAYERS:
        deadline = max(deadline, time.monotonic() + LISTED * request.time_limit_s)
    try:
        kinds = [single_tasks(table, deadline), chain_tasks(table, deadline)]
    except TimeUpError:
        return plans
    for number, tasks in enumerate(kinds[: 1 if len(kinds[1].layers) == len(kinds[0].layers) else 2]):
        lister = Lister(table, tasks, deadline)
        starts = _starts(lister, tasks, seeds)
        plans += [schedule.proposal(tasks) for schedule, _ in starts]
        if starts and starts[0][0].seconds > bound * (1 + TOLERANCE) and time.monotonic() < deadline:
            share = time.monotonic() + (deadline - time.monotonic()) / (2 - number)
            schedule, priority = starts[0]
            plans.append(improve(lister, schedule, priority, request.seed, share).proposal(tasks))
    return plans


def _starts(lister: Lister, tasks: Tasks, seeds: Sequence[Proposal]) -> list[tuple[Schedule, list[float]]]:
    """Return list schedules that found a place for every task, best first, each with its priorities.

    What is most likely to help comes first, and they are as many as the lister's time allows.
    """
    found: list[tuple[Schedule, list[float]]] = []
    with suppress(TimeUpError):
        upward = lister.heft_priority()
        found.append((lister.schedule(upward), upward))
        for seed in seeds[:KEPT]:
            state = {layer: placed.state for placed in seed for layer in placed.layers}
            found.append((lister.schedule(upward, [state[layers[0]] for layers in tasks.layers]), upward))
        fastest = lister.fastest_priority()
        found.append((lister.schedule(fastest), fastest))
        outlook = lister.peft_outlook()
        finite = [[value for value in row if value < float("inf")] for row in outlook.tolist()]
        peft = [sum(row) / max(len(row), 1) for row in finite]
        found.append((lister.schedule(peft, outlook=outlook), peft))
        found.append((lister.schedule(upward, outlook=outlook), upward))
    return sorted((pair for pair in found if pair[0].seconds < float("inf")), key=lambda pair: pair[0].seconds)


def finished(
    table: CostTable, request: Request, judge: Judge, plans: Iterable[Proposal], deadline: float
) -> tuple[Proposal, ...]:
    """The plans that can run, best first; the first few with slices merged and polished instead of as they were."""
    best = judge.best_first(plans, part_of(deadline, 0.5))
    done: list[Proposal] = []
    for plan in best[:KEPT]:
        if time.monotonic() + MERGED * judge.longest_s > deadline:
            done.append(plan)
            continue
        merged = merge_harmless(table, request, plan)
        large = len(table.layer_names) > POLISHED_LAYERS
        capped = polished_whole(table)
        if time.monotonic() < deadline and not (large and len(done) >= (2 if capped else 1)):
            share = part_of(deadline, 0.5) if large and capped and not done else deadline
            few = large and not capped
            merged = merge_harmless(table, request, polish(table, request, merged, share, whole_slices=few))
        done.append(merged)
    return tuple(dict.fromkeys((*done, *best[KEPT:])))


def slices_cost(table: CostTable) -> bool:
    """Return whether cutting a slice in two may cost more than the copies between the parts."""
    return bool(
        table.slice_s.any() or table.slice_j.any() or table.segments or (table.io_host & table.own_memory).any()
    )
