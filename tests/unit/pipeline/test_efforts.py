"""Efforts: the same passes, measuring for another time."""

from __future__ import annotations

import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.passes.editing import every, find
from mosaic_onnx.pipeline.efforts import EFFORTS, effort_named, on_one_device
from mosaic_onnx.pipeline.options import compile_passes
from mosaic_onnx.pipeline.pipelines import COMPILE
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.candidates import worth_cutting
from mosaic_onnx.planning.profile_plan import plan_profile


def test_normal_is_what_the_passes_do_by_themselves() -> None:
    plain = {one.name: one for one in COMPILE}
    made = {one.name: one for one in compile_passes({})}
    assert list(made) == list(plain)
    assert made["feedback"].round_limit == plain["feedback"].round_limit  # type: ignore[attr-defined]


def test_an_effort_reaches_every_pass_that_measures() -> None:
    quick = compile_passes({"effort": "quick", "request": Request(min_slice_count=2)})
    measuring = [one for one in every(quick) if one.name in ("profile", "measure_slices")]
    assert len(measuring) >= 2
    assert {one.effort.name for one in measuring} == {"quick"}  # type: ignore[attr-defined]
    feedback, select = find(quick, "feedback"), find(quick, "select")
    assert (feedback.round_limit, feedback.run_limit) == (0, 0)  # type: ignore[attr-defined]
    assert select.min_slice_count == 2  # type: ignore[attr-defined]
    assert select.effort is EFFORTS["quick"].contest  # type: ignore[attr-defined]


def test_a_given_profile_and_plan_take_any_effort() -> None:
    given = {"given_profile": "p.json", "given_plan": "q.json", "effort": "quick"}
    assert [one.name for one in compile_passes(given)][-1] == "verify"


def test_more_effort_never_measures_less() -> None:
    quick, normal, thorough = EFFORTS.values()
    for less, more in ((quick, normal), (normal, thorough)):
        assert less.profiling.slice.seconds < more.profiling.slice.seconds
        assert less.profiling.layer.seconds < more.profiling.layer.seconds
        assert less.contest.budget_s < more.contest.budget_s
        assert less.round_limit <= more.round_limit


def test_a_time_budget_shortens_what_is_measured_and_keeps_it_apart_in_the_cache() -> None:
    less = effort_named("normal", 0.8 * EFFORTS["normal"].usual_s)
    assert less.profiling.slice.seconds == pytest.approx(0.8 * EFFORTS["normal"].profiling.slice.seconds)
    assert less.contest.budget_s < EFFORTS["normal"].contest.budget_s
    assert less.profiling.kept_as[0] not in EFFORTS["normal"].profiling.kept_as
    assert effort_named("normal", 1e6).profiling == EFFORTS["normal"].profiling


def test_a_time_budget_far_below_an_effort_gets_a_lesser_one() -> None:
    assert effort_named("thorough", 20.0).profiling.name == "normal"
    assert effort_named("thorough", 8.0).profiling.name == "quick"
    assert effort_named("quick", 1.0).profiling.name == "quick"
    assert effort_named("quick", 1.0).contest.budget_s <= 0.25


@pytest.mark.parametrize(("name", "seconds"), [("lazy", None), ("normal", 0.0), ("normal", float("nan"))])
def test_an_effort_that_does_not_exist_is_refused(name: str, seconds: float | None) -> None:
    with pytest.raises(UsageError):
        effort_named(name, seconds)


def test_on_one_device_nothing_is_measured_that_only_a_cut_needs() -> None:
    alone = on_one_device(EFFORTS["normal"])
    assert (alone.profiling.alone_s, alone.run_limit) == (0.0, 0)
    uncut = compile_passes({}, is_uncut=True)
    assert find(uncut, "feedback").run_limit == 0  # type: ignore[attr-defined]


def test_a_cut_that_promises_little_is_not_tried_where_effort_is_low() -> None:
    profile = two_devices(gain=0.05)
    request = Request()
    plan = plan_profile(profile, request)
    assert len(plan.slices) == 2
    table = cost_table(profile)
    assert len(worth_cutting(profile, plan, request, 0.1, table).slices) == 1
    assert worth_cutting(profile, plan, request, 0.01, table) is plan
    assert worth_cutting(profile, plan, Request(deadline_s=1.0), 0.1, table) is plan


def two_devices(gain: float) -> Profile:
    """Two layers on two devices; the second is faster on the second layer by a share of the whole."""
    costs = ({"a": Cost(0.5), "b": Cost(0.9)}, {"a": Cost(0.5), "b": Cost(0.5 - gain)})
    layers = tuple(
        ProfileLayer(f"layer{at}", (f"t{at}",), (f"t{at + 1}",), cost, nodes=(f"n{at}",))
        for at, cost in enumerate(costs)
    )
    tensors = {"t0": 4, "t1": 4, "t2": 4}
    return Profile("two", (Device("a", "x"), Device("b", "x")), tensors, ("t0",), ("t2",), layers)
