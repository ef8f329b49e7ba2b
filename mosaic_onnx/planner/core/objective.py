"""The figure that a request minimises, as search compares it: limits first, then the objective."""

from __future__ import annotations

from collections.abc import Callable

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.plans import Objective
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, Weights
from mosaic_onnx.planner.core.request import Request, within
from mosaic_onnx.planner.core.simulate import Timeline

Rank = Callable[[float, float], tuple[float, float]]
"""(seconds, joules with idle power) -> (how far they break limits, the objective); the smaller the better."""


def rank_of(request: Request) -> Rank:
    """Return the rank of a sequential plan's figures under a request for latency, energy or their product."""

    def rank(seconds: float, joules: float) -> tuple[float, float]:
        broken = _over(seconds, request.deadline_s) + _over(joules, request.budget_j)
        return broken, objective_of(request.objective, seconds, joules)

    return rank


def objective_of(objective: Objective, seconds: float, joules: float) -> float:
    """Return seconds, joules or their product."""
    if objective == "energy":
        return joules
    return seconds * joules if objective == "edp" else seconds


def single_weights(request: Request) -> Weights | None:
    """Return the weights whose sum is the objective; None where no single sum is, or limits hold besides."""
    if request.pareto or request.deadline_s is not None or request.budget_j is not None:
        return None
    return {"latency": LATENCY, "energy": ENERGY}.get(request.objective)


def has_joules(table: CostTable) -> bool:
    """Return whether the table knows energy."""
    return table.layer_j is not None


def broken_limits(request: Request, timeline: Timeline) -> float:
    """Return by how much of themselves the deadline and the budget are broken in all; 0 where both are kept."""
    return _over(timeline.seconds, request.deadline_s) + _over(timeline.joules or 0.0, request.budget_j)


def _over(figure: float, limit: float | None) -> float:
    """By how much of itself a limit is broken; 0 where it is kept."""
    if within(figure, limit) or limit is None:
        return 0.0
    return figure / limit - 1.0 if limit else figure
