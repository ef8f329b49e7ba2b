"""Concurrent plans by OR-tools' CP-SAT, from the best plan that the heuristics find. Extra ``solver``."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.concurrent.bound import concurrent_bound
from mosaic_onnx.planner.concurrent.cpsat_model import ALL_SETS_LAYERS, ConcurrentModel, LayerSet, convex_sets
from mosaic_onnx.planner.concurrent.method import JUDGED, Judge, finished, listed, seed_plans, seed_share, slices_cost
from mosaic_onnx.planner.concurrent.span_search import by_spans
from mosaic_onnx.planner.core.deadline import TimeUpError
from mosaic_onnx.planner.core.ortools import available, new_solver
from mosaic_onnx.planner.core.request import TOLERANCE, Answer, MethodUnavailable, PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.simulate import simulate


def concurrent_cpsat(table: CostTable, request: Request) -> Answer:
    """Return the concurrent plan with the smallest makespan that the solver finds in time, and a bound.

    Raises:
        MethodUnavailable: OR-tools is not installed.
        InfeasibleError: proved: groups, pins and memory leave no plan.
    """
    if not available():
        raise MethodUnavailable("concurrent-cpsat needs OR-tools", "pip install 'mosaic-onnx[solver]'")
    began = time.monotonic()
    limit_s = request.time_limit_s
    bound_s, how = concurrent_bound(table, until=began + 0.1 * limit_s)
    judge = Judge(table, request)
    plans = seed_plans(table, request, judge, seed_share(table, request, 0.15) * limit_s)
    joined = by_spans(table, request.seed, True, began + 0.6 * limit_s)
    if joined is not None:
        plans += [joined.proposal] if joined.proposal is not None else []
        if joined.bound_s > bound_s:
            bound_s, how = joined.bound_s, "CP-SAT, span by span between gates"
    late = time.monotonic() > began + 0.4 * limit_s
    share = 0.65 if joined is not None or late else 0.4
    plans += listed(table, request, plans, bound_s, began + share * limit_s)
    plans = list(finished(table, request, judge, plans, began + (share + 0.1) * limit_s))
    beat_s = _seconds(table, plans[0]) if plans else math.inf
    if beat_s <= bound_s * (1 + TOLERANCE):
        return Answer(tuple(plans), bound_s, how)
    sets, complete = offer_sets(table, plans)
    try:
        model = ConcurrentModel(table, sets, beat_s if plans else _serial_s(table), bound_s, began + 0.8 * limit_s)
    except TimeUpError:
        return Answer(tuple(plans), bound_s, how)
    if plans:
        hint = plans[0] if slices_cost(table) else _alone(plans[0])
        model.suggest(hint, simulate(table, hint, "concurrent").slice_times)
    from ortools.sat.python import cp_model

    solver = new_solver(began + 0.9 * limit_s - JUDGED * judge.longest_s - time.monotonic(), request.seed)
    status = solver.solve(model.model)
    if status == cp_model.INFEASIBLE and not plans and complete:
        raise InfeasibleError("no plan keeps groups, pins and memory caps", "Relax a cap, a pin or a group.")
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        found = finished(table, request, judge, [model.proposal(solver)], began + limit_s)
        plans = [*found, *plans]
    proved_s = solver.best_objective_bound * model.unit_s if complete and status != cp_model.INFEASIBLE else 0.0
    if proved_s > bound_s:
        bound_s, how = proved_s, "CP-SAT"
    return Answer(tuple(dict.fromkeys(plans)), bound_s, how)


def offer_sets(table: CostTable, plans: Sequence[Proposal]) -> tuple[list[LayerSet], bool]:
    """Return sets of layers that may be slices, and whether no other set could make a better plan.

    Where slices cost nothing, single layers are enough: a slice cut into its layers starts no later and its tensors are
    ready no later. Else all convex sets of a small graph, or single layers and the slices of known plans, also joined
    with their neighbours.
    """
    single: list[LayerSet] = [(layer,) for layer in range(len(table.layer_names))]
    if not slices_cost(table):
        return single, True
    if len(single) <= ALL_SETS_LAYERS:
        return convex_sets(table), True
    sets = dict.fromkeys(single)
    for plan in plans[:4]:
        last: dict[int, tuple[int, ...]] = {}
        for layers, state in plan:
            sets[tuple(sorted(layers))] = None
            before = last.get(state)
            if before is not None:
                sets[tuple(sorted(before + layers))] = None
            last[state] = layers
    return list(sets), False


def _alone(proposal: Proposal) -> Proposal:
    """Return every layer a slice of its own."""
    return tuple(PlacedSlice((layer,), placed.state) for placed in proposal for layer in placed.layers)


def _seconds(table: CostTable, proposal: Proposal) -> float:
    return simulate(table, proposal, "concurrent").seconds


def _serial_s(table: CostTable) -> float:
    """Seconds within which any plan is done: all layers and all copies one after the other, all at their slowest."""
    rows = table.rows
    slowest = sum(max((s for s in row if s < math.inf), default=0.0) for row in rows.layer_s)
    copies = sum(max(row, default=0.0) for row in (*rows.to_host_s, *rows.from_host_s))
    for seconds in table.direct_s.values():
        copies += float(seconds.max(initial=0.0, where=np.isfinite(seconds))) * len(seconds)
    return slowest + copies + max(rows.slice_s, default=0.0) * len(rows.layer_s) + 1e-9
