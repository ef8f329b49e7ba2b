"""Cases on which the planner was once wrong (``planner-cases`` of the shared benchmarks): all plans were enumerated."""

from __future__ import annotations

from typing import Any

import pytest

from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.files.profile_file import read_profile
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.profile_plan import plan_front, plan_profile
from tests.conftest import SHARED
from tests.unit.planner.enumeration import truth
from tests.unit.planner.exhaustive.test_against_enumeration import check

pytestmark = pytest.mark.corpus
CASES = SHARED / "benchmarks" / "planner-cases"


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


@pytest.mark.parametrize("name", ["case_107", "case_20166", "case_30586"])
def test_every_kind_of_request_gets_the_enumerated_optimum(name: str) -> None:
    table = cost_table(read_profile(CASES / f"{name}.json"))
    known = truth(table)
    assert known is not None
    for schedule in ("sequential", "concurrent"):
        for objective in ("latency", "throughput", *(("energy", "edp") if table.layer_j is not None else ())):
            for one_slice in (False, True):
                request = Request(objective=objective, schedule=schedule, one_slice_per_device=one_slice)  # type: ignore[arg-type]
                check(table, known, request)


def test_the_front_of_alexnet_holds_what_deadlines_find_and_is_exact() -> None:
    profile = read_profile(CASES / "alexnet_rk3399.json")
    front = plan_front(profile, Request())
    assert all(plan.gap == pytest.approx(0.0, abs=1e-9) for plan in front)
    assert front[-1].predicted.joules == pytest.approx(0.575419, abs=1e-6)
    figures = [(plan.predicted.seconds, plan.predicted.joules or 0.0) for plan in front]
    for deadline_s in (0.1184, 0.12):
        figure, gap = planned("alexnet_rk3399", objective="energy", deadline_s=deadline_s)
        assert gap < 1e-9
        assert figure == pytest.approx(min(joules for seconds, joules in figures if seconds <= deadline_s), rel=1e-9)


def test_a_deadline_that_cannot_be_kept_names_the_fastest_plan_in_milliseconds() -> None:
    with pytest.raises(InfeasibleError, match=r"deadline of 100 ms: the fastest takes at least 114\.4") as caught:
        planned("alexnet_rk3399", objective="energy", deadline_s=0.1)
    assert caught.value.hint.endswith("enough on its own: --deadline-ms 114.4")
