"""The planner against general solvers on the same model and the same time: HiGHS and OR-tools' CP-SAT.

The model is the placement problem under memory caps, one thing at a time, without slice overheads: then a placement's
cost is a plan's. Each solver gets it as a 0/1 program; scratch memory, which only the planner counts, is left out for
them. Plan and bound are compared after one time limit each, run one after the other.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from bench.planning.bench_planner_scale import table_of
from bench.report import Row
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.core.objective_weights import LATENCY, weigh
from mosaic_onnx.planner.core.ortools import new_solver
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.placement.milp import LinearModel, linear_model, solve_mixed
from mosaic_onnx.planner.placement.problem import Placement, placement, value
from mosaic_onnx.planner.placement.relax import memory_sides
from mosaic_onnx.planner.solve import solve

LIMIT_S = 10.0
CASES = ((100, True), (300, True), (1_000, True), (1_000, False))
"""(layers, with caps)"""
UNITS = 1 << 30
"""Whole units that the largest cost is cut into for CP-SAT, which knows whole numbers only."""

Found = tuple[float, float]
"""(plan, lower bound) in seconds; inf where no plan was found"""


def run(quick: bool) -> list[Row]:
    rows: list[Row] = []
    for layers, capped in CASES[: 1 if quick else None]:
        table = table_of(layers, capped)
        table = replace(table, slice_s=np.zeros_like(table.slice_s), slice_j=np.zeros_like(table.slice_j))
        problem = placement(table, weigh(table, LATENCY))
        model = linear_model(problem, memory_sides(table, problem))
        found = {"planner": by_planner(table), "HiGHS": by_highs(model, problem)}
        if find_spec("ortools") is not None:
            found["CP-SAT"] = by_cpsat(model, problem)
        own = found["planner"][0]
        for name, (plan, bound) in found.items():
            title = f"{layers} layers{', caps' if capped else ''}, {name}"
            gap = 100 * (plan / bound - 1) if bound > 0 else float("inf")
            rows.append(Row(f"{title}: plan", plan, "s", against="planner", ratio=plan / own))
            rows.append(Row(f"{title}: gap", gap, "%", note=f"bound {bound:.5g} s, limit {LIMIT_S:g} s"))
    return rows


def by_planner(table: CostTable) -> Found:
    plan = solve(table, Request(time_limit_s=LIMIT_S)).plan
    return plan.predicted.seconds, plan.bound.value if plan.bound else 0.0


def by_highs(model: LinearModel, problem: Placement) -> Found:
    solved = solve_mixed(model, problem, LIMIT_S)
    return float("inf") if solved.states is None else value(problem, solved.states), solved.bound


def by_cpsat(model: LinearModel, problem: Placement) -> Found:
    """All columns are booleans: with the layers' whole, the others are 0 or 1 in some optimum."""
    from ortools.sat.python import cp_model

    program = cp_model.CpModel()
    columns = [program.new_bool_var("") for _ in model.cost]
    matrix = model.matrix
    for row, (low, high) in enumerate(zip(model.lower.tolist(), model.upper.tolist(), strict=True)):
        begin, end = matrix.indptr[row], matrix.indptr[row + 1]
        terms = zip(matrix.indices[begin:end].tolist(), matrix.data[begin:end].tolist(), strict=True)
        total = sum(int(weight) * columns[column] for column, weight in terms)
        if np.isfinite(low):
            program.add(total >= int(low))
        if np.isfinite(high):
            program.add(total <= int(high))
    unit_s = float(np.abs(model.cost).max()) / UNITS
    whole = np.floor(model.cost / unit_s).astype(np.int64).tolist()
    program.minimize(sum(cost * column for cost, column in zip(whole, columns, strict=True) if cost))
    solver = new_solver(LIMIT_S, 0)
    status = solver.solve(program)
    bound = solver.best_objective_bound * unit_s + model.constant
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return float("inf"), bound
    solution = np.array([solver.value(column) for column in columns], dtype=np.float64)
    return value(problem, model.states(problem, solution)), bound
