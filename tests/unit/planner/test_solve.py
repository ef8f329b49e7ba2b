"""Solve: methods propose, the simulator picks, bounds are kept honest."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.files.plan_file import plan_from_json, plan_to_json
from mosaic_onnx.planner import solve as solve_module
from mosaic_onnx.planner.core.request import Answer, MethodUnavailable, PlacedSlice, Request
from mosaic_onnx.planner.core.request_constraints import at_least
from mosaic_onnx.planner.core.simulate import simulate, value
from mosaic_onnx.planner.registry import Method
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.planning.profile_plan import plan_profile
from tests.unit.files.test_plan_file import tiny as tiny_plan
from tests.unit.files.test_profile_file import tiny
from tests.unit.planner.random_profiles import random_profile

GOOD = (PlacedSlice((0,), 2), PlacedSlice((1,), 1))
SLOW = (PlacedSlice((0, 1), 0),)
BROKEN = (PlacedSlice((0, 1), 2),)


def with_methods(monkeypatch: pytest.MonkeyPatch, **answers: Answer | Exception) -> None:
    """Only these methods exist, and ``auto`` runs all of them."""

    def method(answer: Answer | Exception) -> Method:
        def function(table: object, request: object) -> Answer:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return Method(function, "", lambda table, request: True)

    methods = {name: method(answer) for name, answer in answers.items()}
    monkeypatch.setattr(solve_module, "METHODS", methods)
    monkeypatch.setattr(solve_module, "method_named", methods.__getitem__)


def test_the_formats_example_is_planned_to_the_formats_plan() -> None:
    plan, expected = plan_profile(tiny(), Request(method="interval")), tiny_plan()
    assert [(item.layers, item.state) for item in plan.slices] == [(s.layers, s.state) for s in expected.slices]
    assert [(t.tensor, t.source, t.destination, t.bytes) for t in plan.transfers] == [
        (t.tensor, t.source, t.destination, t.bytes) for t in expected.transfers
    ]
    assert plan.predicted.seconds == pytest.approx(expected.predicted.seconds, abs=1e-15)
    assert plan.predicted.joules == pytest.approx(expected.predicted.joules)
    assert plan.bound is not None
    assert (plan.bound.unit, plan.bound.method, plan.gap) == ("seconds", "interval, exact", 0.0)
    assert list(json.loads(plan_to_json(plan))) == list(json.loads(plan_to_json(expected)))


def test_every_plan_can_be_written_and_read_again() -> None:
    for seed in range(40):
        profile = random_profile(seed, chain=seed % 2 == 0, layer_count=1 + seed % 6, state_count=1 + seed % 3)
        for schedule in ("sequential", "concurrent"):
            try:
                plan = plan_profile(profile, Request(method="interval", schedule=schedule))  # type: ignore[arg-type]
            except InfeasibleError:
                continue
            assert plan_from_json(plan_to_json(plan)) == plan


def test_the_predicted_figures_are_the_simulators() -> None:
    for seed in range(60):
        profile = random_profile(seed, chain=False, layer_count=1 + seed % 7, state_count=1 + seed % 4)
        table = cost_table(profile)
        for objective in ("latency", "throughput"):
            request = Request(objective=objective, method="interval", schedule="concurrent")  # type: ignore[arg-type]
            try:
                solution = solve(table, request)
            except InfeasibleError:
                continue
            timeline = simulate(table, solution.proposal, "concurrent")
            predicted = solution.plan.predicted
            assert (predicted.seconds, predicted.joules) == (timeline.seconds, timeline.joules)
            assert predicted.interval_seconds == timeline.interval_seconds
            starts = [item.start_s for item in solution.plan.slices]
            assert starts == sorted(starts)


def test_the_best_proposal_of_all_methods_wins_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with_methods(monkeypatch, first=Answer((SLOW, BROKEN)), second=Answer((GOOD,)))
    solution = solve(cost_table(tiny()), Request())
    assert solution.proposal == GOOD
    assert solution.plan.method == "second"


def test_of_a_method_that_took_all_the_time_the_first_plan_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(table: CostTable, request: Request) -> Answer:
        time.sleep(0.1)
        return Answer((GOOD, SLOW))

    with_methods(monkeypatch, quick=Answer((SLOW,)), late=Answer(()))
    monkeypatch.setitem(solve_module.METHODS, "late", Method(late, "", lambda table, request: True))  # type: ignore[arg-type]
    plan = solve(cost_table(tiny()), Request(time_limit_s=0.05)).plan
    assert plan.method == "late"


def test_the_largest_bound_counts_and_the_gap_is_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with_methods(monkeypatch, a=Answer((GOOD,), 0.001, "weak"), b=Answer((), 0.002, "strong"), c=Answer(()))
    plan = solve(cost_table(tiny()), Request()).plan
    assert plan.bound is not None
    assert (plan.bound.value, plan.bound.method) == (0.002, "strong")
    assert plan.gap == pytest.approx(0.003071408 / 0.002 - 1)


def test_a_bound_that_a_plan_beats_is_dropped_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with_methods(monkeypatch, a=Answer((GOOD,), 1.0, "wrong"), b=Answer((), 0.002, "right"))
    solution = solve(cost_table(tiny()), Request())
    assert solution.plan.bound is not None
    assert solution.plan.bound.method == "right"
    assert any("wrong" in note for note in solution.notes)


def test_a_method_that_is_not_installed_is_passed_over_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with_methods(monkeypatch, solver=MethodUnavailable("no OR-tools"), plain=Answer((SLOW,)))
    solution = solve(cost_table(tiny()), Request())
    assert solution.notes == ("method solver did not run: no OR-tools",)
    with pytest.raises(MethodUnavailable):
        solve(cost_table(tiny()), Request(method="solver"))


def test_what_a_request_demands_rules_proposals_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with_methods(monkeypatch, all=Answer((GOOD, SLOW)))
    table = cost_table(tiny())
    assert solve(table, Request(objective="energy")).proposal == GOOD
    assert solve(table, Request(deadline_s=0.0031)).proposal == GOOD
    assert solve(table, Request(budget_j=0.005)).proposal == GOOD
    with pytest.raises(InfeasibleError, match=r"the deadline is 3 ms"):
        solve(table, Request(deadline_s=0.003))
    with pytest.raises(InfeasibleError, match=r"the budget is 1 mJ"):
        solve(table, Request(budget_j=0.001))


def test_a_deadline_met_to_the_last_bit_of_rounding_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    with_methods(monkeypatch, all=Answer((GOOD,)))
    table = cost_table(tiny())
    assert solve(table, Request(deadline_s=0.003071408)).proposal == GOOD


def test_one_slice_per_device_rules_out_a_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with_methods(monkeypatch, all=Answer(((PlacedSlice((0,), 0), PlacedSlice((1,), 1)), SLOW)))
    assert solve(cost_table(tiny()), Request(one_slice_per_device=True)).proposal == SLOW


def test_too_few_slices_are_cut_further(monkeypatch: pytest.MonkeyPatch) -> None:
    with_methods(monkeypatch, all=Answer((SLOW,)))
    assert solve(cost_table(tiny()), Request(min_slice_count=9)).proposal == (
        PlacedSlice((0,), 0),
        PlacedSlice((1,), 0),
    )
    assert len(at_least((PlacedSlice((0, 1, 2, 3, 4), 0), PlacedSlice((5,), 1)), 4)) == 4


def test_energy_without_joules_is_a_usage_error() -> None:
    layers = tuple(
        replace(layer, cost={s: None if c is None else Cost(c.seconds) for s, c in layer.cost.items()})
        for layer in tiny().layers
    )
    table = cost_table(replace(tiny(), layers=layers))
    for request in (Request(objective="energy"), Request(objective="edp"), Request(budget_j=1.0)):
        with pytest.raises(UsageError, match="no joules"):
            solve(table, request)
    assert solve(table, Request(method="interval")).timeline.joules is None


def test_an_unknown_method_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no planner method 'magic'"):
        solve(cost_table(tiny()), Request(method="magic"))


@pytest.mark.parametrize(
    "wrong", [{"deadline_s": -1.0}, {"budget_j": float("nan")}, {"time_limit_s": -1.0}, {"min_slice_count": -1}]
)
def test_a_request_with_a_bad_number_is_a_usage_error(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Request(**wrong)  # type: ignore[arg-type]


def test_value_reads_the_objective_off_the_timeline() -> None:
    timeline = simulate(cost_table(tiny()), GOOD)
    assert value(timeline, "latency") == timeline.seconds
    assert value(timeline, "energy") == timeline.joules
    assert value(timeline, "throughput") == timeline.interval_seconds
    assert timeline.joules is not None
    assert value(timeline, "edp") == timeline.seconds * timeline.joules


def test_in_list_order_no_slice_leaves_a_layer_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers 0 and 2 are one branch, layer 1 is the other; a slice costs a second."""
    reads = ["x", "x", "t0"]
    layers = tuple(ProfileLayer(f"l{i}", (reads[i],), (f"t{i}",), {"a": Cost(1.0)}) for i in range(3))
    tensors = dict.fromkeys(["x", "t0", "t1", "t2"], 4)
    device = Device("a", slice_seconds=1.0)
    table = cost_table(Profile("branches", (device,), tensors, ("x",), ("t1", "t2"), layers))
    apart = (PlacedSlice((0, 2), 0), PlacedSlice((1,), 0))
    listed = (PlacedSlice((0,), 0), PlacedSlice((1,), 0), PlacedSlice((2,), 0))
    with_methods(monkeypatch, some=Answer((apart, listed)))
    assert solve(table, Request()).proposal == apart
    assert solve(table, Request(in_list_order=True)).proposal == listed
    with_methods(monkeypatch, some=Answer((apart,)))
    with pytest.raises(InfeasibleError):
        solve(table, Request(in_list_order=True))
