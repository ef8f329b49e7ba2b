"""Cases on which the planner was once wrong (``planner-cases`` of the shared benchmarks): all plans were enumerated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.files.profile_file import read_profile
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.profile_plan import plan_profile

SHARED = Path(os.environ.get("MOSAIC_SHARED", Path(__file__).parents[5] / "shared"))
CASES = SHARED / "benchmarks" / "planner-cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared benchmarks are not here")


def planned(name: str, forbids: tuple[tuple[str, str], ...] = (), **request: Any) -> tuple[float, float]:
    """The plan's figure and its gap."""
    plan = plan_profile(read_profile(CASES / f"{name}.json"), Request(**request), Constraints(forbids=forbids))
    assert plan.gap is not None
    predicted = plan.predicted
    figures = {"latency": predicted.seconds, "throughput": predicted.interval_seconds, "energy": predicted.joules or 0}
    return figures[plan.objective], plan.gap


def test_a_measured_segment_of_a_dominated_state_is_found() -> None:
    figure, gap = planned("case_30212", (("^L2$", "d0"),), schedule="concurrent")
    assert figure == pytest.approx(28.993, abs=5e-4)
    assert gap < 1e-9


def test_an_inner_order_under_a_live_memory_cap_is_found() -> None:
    assert planned("case_20355", objective="throughput")[0] == pytest.approx(17.395, abs=5e-4)


def test_a_pipeline_with_a_measured_segment_is_found() -> None:
    figure, gap = planned("case_20595", objective="throughput", one_slice_per_device=True)
    assert figure == pytest.approx(11.03, abs=5e-3)
    assert gap < 1e-9


@pytest.mark.parametrize(
    ("name", "forbids", "request_fields"),
    [
        ("case_11", (), {"one_slice_per_device": True}),
        ("case_20271", (), {"objective": "throughput", "budget_j": 13.6530013653}),
        ("case_30115", (), {"schedule": "concurrent", "budget_j": 25.3570025357}),
        ("case_30262", (("^L1$", "d1"),), {"schedule": "concurrent", "budget_j": 33.841803384}),
    ],
)
def test_a_plan_that_exists_is_found(
    name: str, forbids: tuple[tuple[str, str], ...], request_fields: dict[str, Any]
) -> None:
    assert planned(name, forbids, **request_fields)[1] < 1e-9


def test_the_least_energy_of_alexnet_on_three_devices() -> None:
    assert planned("alexnet_rk3399", objective="energy")[0] == pytest.approx(0.575419, abs=1e-6)
