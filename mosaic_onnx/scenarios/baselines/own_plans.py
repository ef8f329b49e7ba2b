"""Baselines in which every model runs its own best plan, as if it had the machine to itself."""

from __future__ import annotations

from mosaic_onnx.planner.core.request import Proposal, Request
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule

TIME_LIMIT_S = 2.0
"""Of the planner, for each model."""


def mosaic_each(instance: Instance) -> Schedule:
    """Give each model its own plan of least latency; first come first served.

    Raises:
        InfeasibleError: some model cannot run.
    """
    proposals = own_plans(instance)
    return Schedule(proposals, tuple(range(len(proposals))), "fifo")


def edf(instance: Instance) -> Schedule:
    """Give each model its own plan of least latency; earliest deadline first.

    Raises:
        InfeasibleError: some model cannot run.
    """
    proposals = own_plans(instance)
    return Schedule(proposals, tuple(range(len(proposals))), "edf")


def own_plans(instance: Instance) -> tuple[Proposal, ...]:
    """Return [M] each model's plan of least latency, one thing at a time; a table that stands twice is planned once.

    Raises:
        InfeasibleError: some model cannot run.
    """
    known: dict[int, Proposal] = {}
    for model in instance.models:
        if id(model.table) not in known:
            known[id(model.table)] = solve(model.table, Request(time_limit_s=TIME_LIMIT_S)).proposal
    return tuple(known[id(model.table)] for model in instance.models)
