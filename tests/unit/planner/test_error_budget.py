"""Plans within a budget of errors, against every plan there is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, weigh
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.core.request_constraints import error_sum
from mosaic_onnx.planner.core.simulate import value
from mosaic_onnx.planner.error_budget import errors_as_joules
from mosaic_onnx.planner.placement.pareto import placement_front
from mosaic_onnx.planner.placement.problem import placement
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.planning.profile_plan import plan_profile
from tests.unit.planner.every_plan import every_plan
from tests.unit.planner.random_profiles import random_profile


def erroneous(seed: int, *, chain: bool, layer_count: int = 4, state_count: int = 3) -> CostTable:
    """A random table whose layers have errors of 0…5 thousandths; in the first state none."""
    table = cost_table(
        random_profile(
            seed, chain=chain, layer_count=layer_count, state_count=state_count, device_caps=False, switches=False
        )
    )
    errors = np.random.default_rng(seed).integers(0, 6, table.layer_s.shape) / 1000.0
    errors[:, 0] = 0.0
    return replace(table, layer_error=errors)


def best_within(table: CostTable, request: Request) -> float:
    """The least objective of all plans that keep the budget; inf where none does."""
    figures = (
        value(timeline, request.objective)
        for proposal, timeline in every_plan(table)
        if error_sum(table, proposal) <= (request.max_error or 0.0) + 1e-12
    )
    return min(figures, default=float("inf"))


@pytest.mark.parametrize("chain", [True, False])
@pytest.mark.parametrize("budget", [0.0, 0.004, 0.009])
def test_the_fastest_plan_within_the_budget_is_found(chain: bool, budget: float) -> None:
    found = 0
    for seed in range(25):
        table, request = erroneous(seed, chain=chain), Request(max_error=budget, time_limit_s=2.0)
        best = best_within(table, request)
        if best == float("inf"):
            with pytest.raises(InfeasibleError):
                solve(table, request)
            continue
        solution = solve(table, request)
        assert solution.plan.predicted.seconds == pytest.approx(best, rel=1e-9), seed
        assert error_sum(table, solution.proposal) <= budget + 1e-12
        if solution.plan.bound is not None:
            assert solution.plan.bound.value <= best * (1 + 1e-9)
        found += 1
    assert found > 8


@pytest.mark.parametrize("objective", ["energy", "edp"])
def test_other_objectives_keep_the_budget_and_come_close(objective: str) -> None:
    found = best_sum = 0.0
    for seed in range(40):
        table = erroneous(seed, chain=True)
        request = Request(objective=objective, max_error=0.006, time_limit_s=1.0)  # type: ignore[arg-type]
        if table.layer_j is None or (best := best_within(table, request)) == float("inf"):
            continue
        solution = solve(table, request)
        assert error_sum(table, solution.proposal) <= 0.006 + 1e-12
        found, best_sum = found + value(solution.timeline, request.objective), best_sum + best
    assert best_sum <= found <= 1.1 * best_sum
    assert found


@pytest.mark.parametrize("word", [("concurrent", "latency"), ("concurrent", "throughput")])
def test_side_by_side_plans_keep_the_budget(word: tuple[str, str]) -> None:
    request = Request(schedule=word[0], objective=word[1], max_error=0.005, time_limit_s=0.5)  # type: ignore[arg-type]
    for seed in (0, 1, 4):
        table = erroneous(seed, chain=False)
        if best_within(table, Request(max_error=0.005)) < float("inf"):
            assert error_sum(table, solve(table, request).proposal) <= 0.005 + 1e-12


def two_devices(layer_count: int = 12) -> Profile:
    """Layers that take 2 s exactly, or 1 s with an error of 0.001 each."""
    names = [f"t{number}" for number in range(layer_count + 1)]
    return Profile(
        "two",
        (Device("exact"), Device("rough", precision="bf16")),
        dict.fromkeys(names, 4),
        (names[0],),
        (names[-1],),
        tuple(
            ProfileLayer(f"l{n}", (names[n],), (names[n + 1],), {"exact": Cost(2.0), "rough": Cost(1.0, error=0.001)})
            for n in range(layer_count)
        ),
    )


def test_as_many_layers_run_roughly_as_the_budget_holds() -> None:
    plan = plan_profile(two_devices(), Request(max_error=0.0051))
    rough = sum(len(one.layers) for one in plan.slices if one.state == "rough")
    assert rough == 5
    assert plan.predicted.seconds == pytest.approx(5 + 2 * 7)
    assert plan.constraints["max_error"] == 0.0051


def test_without_a_budget_errors_count_for_nothing() -> None:
    assert {one.state for one in plan_profile(two_devices(), Request()).slices} == {"rough"}


def test_no_budget_leaves_only_exact_states() -> None:
    assert {one.state for one in plan_profile(two_devices(), Request(max_error=0.0)).slices} == {"exact"}


def test_a_budget_that_no_state_keeps_is_refused_with_the_least_sum() -> None:
    profile = two_devices(3)
    layers = tuple(replace(layer, cost={"rough": layer.cost["rough"]}) for layer in profile.layers)
    with pytest.raises(InfeasibleError, match=r"0\.003"):
        plan_profile(replace(profile, layers=layers), Request(max_error=0.002))


def test_a_long_chain_is_planned_near_the_best() -> None:
    """200 layers with errors drawn at random: no worse than 1 % above the relaxation's bound."""
    profile, random = two_devices(200), np.random.default_rng(0)
    layers = tuple(
        replace(layer, cost={"exact": Cost(2.0), "rough": Cost(1.0, error=float(random.uniform(1e-5, 2e-3)))})
        for layer in profile.layers
    )
    plan = plan_profile(replace(profile, layers=layers), Request(max_error=0.05, time_limit_s=4.0))
    errors = sorted(layer.cost["rough"].error for layer in layers if layer.cost["rough"])  # type: ignore[type-var]
    held = int(np.searchsorted(np.cumsum(errors), 0.05))
    assert plan.predicted.seconds <= 1.01 * (400 - held)


def test_overheads_that_only_time_knows_leave_the_problems_side_by_side() -> None:
    """A slice costs seconds and no error: both problems must have the same links all the same."""
    profile = two_devices(6)
    readers = tuple(
        replace(layer, inputs=tuple(dict.fromkeys((*layer.inputs, "t1")))) if n > 1 else layer
        for n, layer in enumerate(profile.layers)
    )
    costly = tuple(replace(device, slice_seconds=0.25) for device in profile.devices)
    table = errors_as_joules(cost_table(replace(profile, layers=readers, devices=costly)))
    keep = possible_states(table)
    seconds, errors = (placement(table, weigh(table, weights), keep) for weights in (LATENCY, ENERGY))
    assert list(seconds.links) == list(errors.links)
    front = placement_front(seconds, errors)
    assert front is not None
    assert front[0].seconds == pytest.approx(6.25)
    assert front[-1].joules == 0.0


def test_errors_stand_in_the_place_of_joules_and_nothing_else_does() -> None:
    table = erroneous(3, chain=False)
    swapped = errors_as_joules(table)
    assert swapped.layer_j is not None
    assert table.layer_error is not None
    able = np.isfinite(table.layer_s)
    assert np.array_equal(swapped.layer_j[able], table.layer_error[able])
    assert not swapped.slice_j.any()
    assert not swapped.idle_w.any()
    assert not swapped.switch_j.any()


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(UsageError, match="max_error"):
        Request(max_error=-1.0)
