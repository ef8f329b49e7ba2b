"""The exact placement methods by name: for comparing them, and for who wants one of them alone."""

from __future__ import annotations

from collections.abc import Callable

from mosaic_onnx.core.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.planner.core.infeasibility import check_possible
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, weigh
from mosaic_onnx.planner.core.request import Answer, Request
from mosaic_onnx.planner.placement.relax import relax
from mosaic_onnx.planner.search.initial_solutions import implied_plans


def exact_placement(solver: str) -> Callable[[CostTable, Request], Answer]:
    """The method that places layers with this solver (see ``relaxation.relax``), without slices or limits in mind."""

    def method(table: CostTable, request: Request) -> Answer:
        if request.objective not in ("latency", "energy") or request.schedule != "sequential":
            raise UsageError(
                f"method {solver} answers latency and energy of sequential plans only", "use --method auto"
            )
        check_possible(table)
        weighed = weigh(table, ENERGY if request.objective == "energy" else LATENCY)
        relaxed = relax(table, weighed, request.time_limit_s, solver, request.seed)
        if relaxed.bound == float("inf"):
            raise InfeasibleError("no placement runs every layer", "lift a pin, forbid or group")
        plans = implied_plans(table, [] if relaxed.states is None else [relaxed.states])
        return Answer(tuple(plans), relaxed.bound, relaxed.said)

    return method
