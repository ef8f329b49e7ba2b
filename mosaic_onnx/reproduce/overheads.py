"""The time of planning (Figures 16 and 17)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device
from mosaic_onnx.planner.baselines.algorithm1 import algorithm1
from mosaic_onnx.planner.chain.method import interval
from mosaic_onnx.planner.core.request import Answer, Request
from mosaic_onnx.reproduce.workloads import described_profile, highest_only, layered


@dataclass(frozen=True)
class PlanningTime:
    """The seconds to plan one workload, from a cost table to slices: the least of several runs."""

    workload: str
    objective: Literal["latency", "energy"]
    state_count: int
    interval_s: float
    algorithm1_s: float


def planning_times(names: Sequence[str], devices: Sequence[Device], repeats: int) -> tuple[PlanningTime, ...]:
    """Return the planning times for latency over |D| = 4 states (Equation 6) and energy over |D| = 25 (Equation 7)."""
    found = []
    for name in names:
        for objective, taking_part in (("latency", highest_only(devices)), ("energy", tuple(devices))):
            table = cost_table(described_profile(layered(name), taking_part))
            request = Request(objective=objective)  # type: ignore[arg-type]  # one of the two above
            found.append(
                PlanningTime(
                    name,
                    objective,  # type: ignore[arg-type]
                    len(table.state_names),
                    _least(interval, table, request, repeats),
                    _least(algorithm1, table, request, 1),
                )
            )
    return tuple(found)


def _least(method: Callable[[CostTable, Request], Answer], table: CostTable, request: Request, repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        method(table, request)
        taken.append(time.perf_counter() - started)
    return min(taken)
