"""The sequential method against every plan of small graphs, with every feature of the profile format."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Objective
from mosaic_onnx.core.profiles import Cost, MeasuredSlice, Profile, ProfileLayer
from mosaic_onnx.planner.core.objective import rank_of
from mosaic_onnx.planner.core.request import Answer, PlacedSlice, Request
from mosaic_onnx.planner.core.request_constraints import one_slice_each
from mosaic_onnx.planner.core.simulate import simulate, value
from mosaic_onnx.planner.exhaustive.method import optimum_within
from mosaic_onnx.planner.search.incremental_cost import IncrementalCost
from mosaic_onnx.planner.search.moves import improve
from mosaic_onnx.planner.sequential import bounds
from mosaic_onnx.planner.sequential.method import sequential
from mosaic_onnx.planner.sequential.pareto import front as planned_front
from mosaic_onnx.planner.sequential.pareto import pareto
from mosaic_onnx.planner.solve import solve, solve_front
from mosaic_onnx.planner.throughput.pipeline import one_slice_per_device
from tests.unit.planner.every_plan import every_plan, front, placement_costs
from tests.unit.planner.random_graphs import EVERYTHING, Kind, random_profile

INF = float("inf")


def everything(seed: int, most_layers: int = 5) -> CostTable:
    """A random graph with all features: two devices with levels, or three without."""
    rng = np.random.default_rng(seed)
    devices, levels = ((2, 2), (3, 1), (2, 1))[seed % 3]
    layers = int(rng.integers(1, most_layers + 1 if devices == 2 and levels == 1 else most_layers))
    return cost_table(random_profile(rng, replace(EVERYTHING, layers=layers, devices=devices, levels=levels)))


def best(table: CostTable, answer: Answer, request: Request) -> float:
    """The objective of the best proposal within the limits."""
    rank = rank_of(request)
    found = np.inf
    for proposal in answer.proposals:
        try:
            timeline = simulate(table, proposal)
        except InfeasibleError:
            continue
        if rank(timeline.seconds, timeline.joules or 0.0)[0] == 0.0:
            found = min(found, value(timeline, request.objective))
    return found


@pytest.mark.parametrize("seeds", [range(50), pytest.param(range(50, 200), marks=pytest.mark.slow)])
def test_plans_are_exact_on_graphs_with_every_feature(seeds: range) -> None:
    for seed in seeds:
        table = everything(seed)
        plans = [timeline for _, timeline in every_plan(table)]
        for request in (Request(), Request(objective="energy"), Request(objective="edp")):
            if not plans:
                with pytest.raises(InfeasibleError):
                    sequential(table, request)
                continue
            least = min(value(timeline, request.objective) for timeline in plans)
            answer = sequential(table, request)
            assert best(table, answer, request) == pytest.approx(least, rel=1e-9), seed
            assert answer.bound == pytest.approx(least, rel=1e-9), seed


@pytest.mark.parametrize("seeds", [range(50), pytest.param(range(50, 200), marks=pytest.mark.slow)])
def test_fronts_equal_the_fronts_of_all_plans(seeds: range) -> None:
    for seed in seeds:
        table = everything(seed + 1000)
        plans = front([(timeline.seconds, timeline.joules or 0.0) for _, timeline in every_plan(table)])
        if not plans:
            with pytest.raises(InfeasibleError):
                planned_front(table, Request())
            continue
        found = planned_front(table, Request())
        assert found.exact
        points = [(plan.timeline.seconds, plan.timeline.joules) for plan in found.plans]
        assert np.allclose(points, plans, rtol=1e-9) if len(points) == len(plans) else False, seed


def test_energy_under_a_deadline_and_latency_under_a_budget_are_exact() -> None:
    checked = 0
    for seed in range(120):
        table = everything(seed + 2000, most_layers=4)
        points = [(t.seconds, t.joules or 0.0) for _, t in every_plan(table)]
        on_front = front(points)
        if len(on_front) < 2:
            continue
        middle = on_front[len(on_front) // 2]
        request = Request(objective="energy", deadline_s=middle[0] * 1.001)
        answer = sequential(table, request)
        least = min(j for s, j in points if s <= middle[0] * 1.001)
        assert best(table, answer, request) == pytest.approx(least, rel=1e-9)
        request = Request(objective="latency", budget_j=middle[1] * 1.001)
        answer = sequential(table, request)
        least = min(s for s, j in points if j <= middle[1] * 1.001)
        assert best(table, answer, request) == pytest.approx(least, rel=1e-9)
        assert answer.bound == pytest.approx(least, rel=1e-9)
        checked += 1
    assert checked > 20


@pytest.mark.parametrize("seeds", [range(25), pytest.param(range(25, 100), marks=pytest.mark.slow)])
def test_the_relaxed_bounds_never_exceed_the_best_plan(seeds: range) -> None:
    for seed in seeds:
        table = everything(seed + 3000, most_layers=4)
        points = [(t.seconds, t.joules or 0.0) for _, t in every_plan(table)]
        if not points:
            continue
        deadline = float(np.median([s for s, _ in points]))
        for request in (
            Request(),
            Request(objective="energy"),
            Request(objective="edp"),
            Request(objective="energy", deadline_s=deadline),
            Request(objective="edp", deadline_s=deadline),
            Request(objective="latency", budget_j=float(np.median([j for _, j in points]))),
        ):
            rank = rank_of(request)
            least = min(rank(*point) for point in points)[1]
            found = bounds.bounded(table, request, time.monotonic() + 5)
            assert found.bound <= least * (1 + 1e-9), (seed, request)


@pytest.mark.parametrize("seeds", [range(30), pytest.param(range(30, 100), marks=pytest.mark.slow)])
def test_a_wider_graph_is_solved_exactly_where_placements_are_plans(seeds: range) -> None:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        table = cost_table(random_profile(rng, Kind(8, 3, direct=seed % 2 == 0, groups=seed % 3 == 0)))
        least = placement_costs(table)[1].min()
        if np.isinf(least):
            with pytest.raises(InfeasibleError):
                sequential(table, Request())
            continue
        relaxed = bounds.bounded(table, Request(), time.monotonic() + 5)
        assert relaxed.bound == pytest.approx(least, rel=1e-9)
        answer = sequential(table, Request())
        assert best(table, answer, Request()) == pytest.approx(least, rel=1e-9)


def test_the_ledger_agrees_with_the_simulator_after_every_move() -> None:
    moved = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        table = cost_table(random_profile(rng, replace(EVERYTHING, layers=int(rng.integers(4, 12)), devices=3)))
        start = tuple(PlacedSlice((layer,), layer % 2) for layer in range(len(table.layer_names)))
        try:
            before = simulate(table, start)
        except InfeasibleError:
            continue
        seen = []

        def rank(seconds: float, joules: float, seen: list[tuple[float, float]] = seen) -> tuple[float, float]:
            seen.append((seconds, joules))
            return 0.0, seconds

        improved = improve(table, start, rank, time.monotonic() + 5)
        after = simulate(table, improved)
        assert after.seconds <= before.seconds
        figures = IncrementalCost(table, improved).figures
        assert figures.seconds == pytest.approx(after.seconds, rel=1e-9)
        assert figures.joules + table.rows.idle_w * figures.seconds == pytest.approx(after.joules, rel=1e-9)
        assert any(np.allclose(point, (after.seconds, after.joules), rtol=1e-9) for point in seen)
        moved += improved != start
    assert moved > 20


def test_a_plan_that_no_move_can_run_is_left_alone() -> None:
    table = everything(5)
    start = tuple(PlacedSlice((layer,), 0) for layer in range(len(table.layer_names)))
    assert improve(table, start, lambda seconds, joules: (0.0, 0.0), time.monotonic() + 1) == start


def test_a_known_plan_prunes_the_whole_search_but_not_the_best_plan() -> None:
    for seed in range(40):
        table = everything(seed + 4000)
        try:
            found = optimum_within(table, Request(), 10**6, INF)
        except InfeasibleError:
            continue
        assert found is not None
        again = optimum_within(table, Request(), 10**6, INF, found.proposals[0])
        assert again is not None
        assert again.bound == pytest.approx(found.bound, rel=1e-12)


def test_twelve_layers_with_every_feature_are_planned_exactly() -> None:
    table = cost_table(random_profile(np.random.default_rng(3), replace(EVERYTHING, layers=12)))
    answer = sequential(table, Request())
    assert answer.bound_method == "whole search, exact"
    assert best(table, answer, Request()) == pytest.approx(answer.bound, rel=1e-9)


def test_the_search_stops_where_a_graph_is_too_large() -> None:
    table = cost_table(random_profile(np.random.default_rng(0), replace(EVERYTHING, layers=30, devices=3)))
    assert optimum_within(table, Request(), 1000, INF) is None


def test_a_measured_slice_of_many_orders_is_weighed_at_once() -> None:
    """Seven free layers have 5,040 orders, of which one was measured."""
    layers = tuple(ProfileLayer(f"l{i}", ("x",), (f"t{i}",), {"a": Cost(1.0)}) for i in range(7))
    tensors = {name: 4 for name in ("x", *(f"t{i}" for i in range(7)))}
    segments = (MeasuredSlice(0, 6, "a", 5.0), MeasuredSlice(0, 5, "a", 4.5))
    profile = Profile("free", (Device("a"),), tensors, ("x",), tuple(tensors)[1:], layers, segments=segments)
    table = cost_table(profile)
    began = time.process_time()
    found = optimum_within(table, Request(), 10**6, INF)
    assert found is not None
    assert found.bound == pytest.approx(5.0)
    assert time.process_time() - began < 10.0


def test_a_deadline_that_no_plan_keeps_is_named() -> None:
    table = everything(1)
    fastest = best(table, sequential(table, Request()), Request())
    with pytest.raises(InfeasibleError, match="no plan keeps the deadline"):
        sequential(table, Request(objective="energy", deadline_s=fastest * 0.9))
    with pytest.raises(InfeasibleError, match="no plan keeps the deadline"):
        bounds.bounded(table, Request(objective="energy", deadline_s=0.0), time.monotonic() + 1)
    with pytest.raises(InfeasibleError, match="no plan keeps the budget"):
        sequential(table, Request(budget_j=0.0))


def test_layers_of_a_group_that_share_no_device_are_named() -> None:
    table = cost_table(random_profile(np.random.default_rng(0), Kind(4, 2, unsupported=0.0)))
    seconds = table.layer_s.copy()
    seconds[1, 0] = seconds[3, 1] = np.inf
    table = replace(table, layer_s=seconds, group=np.zeros(4, dtype=np.int64))
    with pytest.raises(InfeasibleError, match=r"share no device that can run them: layer1, layer3\n"):
        sequential(table, Request())


def test_a_layer_that_nothing_runs_is_named() -> None:
    table = cost_table(random_profile(np.random.default_rng(0), Kind(4, 2)))
    seconds = table.layer_s.copy()
    seconds[2] = np.inf
    with pytest.raises(InfeasibleError, match="no state can run layer layer2"):
        sequential(replace(table, layer_s=seconds), Request())


@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, 6), marks=pytest.mark.slow)])
def test_larger_graphs_get_plans_between_the_bound_and_the_best_single_state(seeds: range) -> None:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        table = cost_table(random_profile(rng, replace(EVERYTHING, layers=60, devices=3, groups=False)))
        for request in (Request(time_limit_s=1.0), Request(objective="energy", time_limit_s=1.0)):
            answer = sequential(table, request)
            found = best(table, answer, request)
            single = [
                simulate(table, (PlacedSlice(tuple(range(60)), 0),)),
                simulate(table, (PlacedSlice(tuple(range(60)), 1),)),
            ]
            assert answer.bound is not None
            assert answer.bound <= found * (1 + 1e-9)
            assert found <= min(value(timeline, request.objective) for timeline in single)


def test_a_front_of_a_larger_graph_falls_and_lies_above_its_bounds() -> None:
    table = cost_table(
        random_profile(np.random.default_rng(3), replace(EVERYTHING, layers=30, devices=3, groups=False))
    )
    found = planned_front(table, Request(time_limit_s=2.0))
    seconds = [plan.timeline.seconds for plan in found.plans]
    joules = [plan.timeline.joules for plan in found.plans]
    assert not found.exact
    assert seconds == sorted(seconds)
    assert joules == sorted(joules, reverse=True)
    answer = pareto(table, Request(pareto=True, time_limit_s=2.0))
    assert answer.bound is not None
    assert answer.bound <= min(seconds)


@pytest.mark.parametrize("method", ["auto", "sequential", "exhaustive"])
def test_a_model_without_layers_is_planned_in_no_time(method: str) -> None:
    table = cost_table(Profile("empty", (Device("cpu"),), {}, (), (), ()))
    solution = solve(table, Request(method=method))
    assert solution.plan.predicted.seconds == 0.0
    assert solution.plan.slices == ()


def test_auto_keeps_the_best_plan_and_the_best_bound() -> None:
    table = everything(7)
    least = min(timeline.seconds for _, timeline in every_plan(table))
    solution = solve(table, Request())
    assert solution.plan.predicted.seconds == pytest.approx(least, rel=1e-9)
    assert solution.plan.gap == pytest.approx(0.0, abs=1e-9)


def test_the_front_holds_the_fastest_and_the_thriftiest_plan() -> None:
    table = everything(11)
    plans = solve_front(table, Request(pareto=True))
    fastest = solve(table, Request()).plan.predicted
    thriftiest = solve(table, Request(objective="energy")).plan.predicted
    assert plans[0].predicted.seconds == pytest.approx(fastest.seconds, rel=1e-9)
    assert plans[-1].predicted.joules == pytest.approx(thriftiest.joules, rel=1e-9)


@pytest.mark.parametrize(("seed", "layers", "devices"), [(2, 40, 4), (3, 24, 3)])
def test_one_slice_a_device_is_no_slower_than_the_pipelines_for_throughput(
    seed: int, layers: int, devices: int
) -> None:
    table = cost_table(random_profile(np.random.default_rng(seed), Kind(layers, devices, energy=True)))
    asked = Request(one_slice_per_device=True, time_limit_s=2.0)
    in_its_share = replace(asked, objective="throughput", time_limit_s=0.2)
    pipelines = one_slice_per_device(table, in_its_share).proposals
    assert pipelines
    for schedule in ("sequential", "concurrent"):
        found = solve(table, replace(asked, schedule=schedule))
        assert one_slice_each(table, found.proposal)
        assert found.timeline.seconds <= min(simulate(table, plan, schedule).seconds for plan in pipelines)


@pytest.mark.parametrize("objective", ["energy", "edp"])
def test_a_deadline_just_above_the_fastest_plan_is_kept_under_caps(objective: Objective) -> None:
    table = cost_table(random_profile(np.random.default_rng(1), Kind(60, 3, levels=2, energy=True, caps=True)))
    fastest_s = solve(table, Request(time_limit_s=2.0)).timeline.seconds
    request = Request(objective=objective, deadline_s=1.01 * fastest_s, time_limit_s=4.0)
    assert solve(table, request).timeline.seconds <= 1.01 * fastest_s
