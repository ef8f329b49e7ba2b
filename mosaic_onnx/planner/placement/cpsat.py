"""Placement by OR-tools' CP-SAT: any width, side constraints, a bound that grows with time. Extra ``solver``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mosaic_onnx.core.costs import Floats
from mosaic_onnx.planner.core.ortools import new_solver
from mosaic_onnx.planner.placement.milp import LinearModel, Solved
from mosaic_onnx.planner.placement.problem import Placement

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

RESOLUTION = float(1 << 40)
"""Whole units that the largest cost that matters is cut into."""


def solve_cpsat(model: LinearModel, problem: Placement, time_limit_s: float, seed: int = 0) -> Solved:
    """Solve the linear model; costs are rounded down to whole units, so the bound holds for the real ones."""
    from ortools.sat.python import cp_model

    solver_model = cp_model.CpModel()
    columns = [solver_model.new_bool_var("") for _ in range(len(model.cost))]
    for row in range(model.matrix.shape[0]):
        span = slice(model.matrix.indptr[row], model.matrix.indptr[row + 1])
        at, values = model.matrix.indices[span], model.matrix.data[span]
        _add_row(solver_model, [columns[i] for i in at], values, model.lower[row], model.upper[row])
    unit = float(model.cost.max(initial=0.0)) * max(1, model.whole_count) / RESOLUTION or 1.0
    whole = np.floor(model.cost / unit).astype(np.int64)
    used = np.flatnonzero(whole)
    solver_model.minimize(cp_model.LinearExpr.weighted_sum([columns[i] for i in used], whole[used].tolist()))
    solver = new_solver(time_limit_s, seed)
    status = solver.solve(solver_model)
    if status == cp_model.INFEASIBLE:
        return Solved(float("inf"), None, optimal=True)
    bound = solver.best_objective_bound * unit + model.constant
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Solved(bound, None, optimal=False)
    solution = np.array([solver.value(column) for column in columns[: model.whole_count]], dtype=np.float64)
    return Solved(bound, model.states(problem, solution), optimal=status == cp_model.OPTIMAL)


def _add_row(
    solver_model: cp_model.CpModel, columns: list[cp_model.IntVar], values: Floats, lower: float, upper: float
) -> None:
    """Add lower <= values · columns <= upper; real coefficients are rounded so that nothing allowed is forbidden."""
    if (values != np.round(values)).any():
        unit = float(np.abs(values).max()) * len(values) / RESOLUTION
        values, upper = np.floor(values / unit), upper / unit
    low = -(1 << 50) if not np.isfinite(lower) else int(np.ceil(lower))
    high = 1 << 50 if not np.isfinite(upper) else int(np.floor(upper))
    from ortools.sat.python import cp_model

    expression = cp_model.LinearExpr.weighted_sum(columns, values.astype(np.int64).tolist())
    solver_model.add_linear_constraint(expression, low, high)
