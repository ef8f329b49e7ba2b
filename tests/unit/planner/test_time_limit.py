"""Time limits: a stage whose time is up ends, and there is a plan however short the limit is."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.planner.core.deadline import FOREVER, TimeUpError, timed
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.solve import solve
from tests.unit.planner.random_graphs import Kind, random_profile


def test_a_loop_ends_when_its_time_is_up() -> None:
    assert list(timed(range(200), FOREVER)) == list(range(200))
    with pytest.raises(TimeUpError):
        list(timed(range(200), time.monotonic() - 1.0))


@pytest.mark.parametrize("capped", [False, True])
@pytest.mark.parametrize(
    "request_",
    [Request(), Request(schedule="concurrent"), Request(objective="throughput")],
    ids=lambda request: f"{request.schedule}-{request.objective}" if isinstance(request, Request) else str(request),
)
def test_there_is_a_plan_without_any_time(request_: Request, capped: bool) -> None:
    table = cost_table(random_profile(np.random.default_rng(1), Kind(80, 3, reach=2)))
    if capped:
        cap = 0.6 * float(table.parameter_bytes[:, 0].sum()) + 1_000
        table = replace(table, memory_bytes=np.full(3, cap))
    solution = solve(table, replace(request_, time_limit_s=0.0))
    assert solution.plan.bound is not None
    assert sum(len(one.layers) for one in solution.plan.slices) == 80
