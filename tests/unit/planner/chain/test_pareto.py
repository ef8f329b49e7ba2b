"""Fronts along chains against all plans, and what limits make of them."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner import registry
from mosaic_onnx.planner.chain.pareto import HalfPlane, chain_front
from mosaic_onnx.planner.core.request import Answer, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.sequential.method import sequential
from mosaic_onnx.planner.sequential.pareto import front as planned_front
from mosaic_onnx.planner.sequential.pareto import pareto
from mosaic_onnx.planner.solve import solve_front
from tests.unit.planner.every_plan import every_plan, front
from tests.unit.planner.random_graphs import EVERYTHING, Kind, random_chain


def small_chain(seed: int) -> CostTable:
    """All features but those that couple slices far apart: switches, groups, caps of whole devices."""
    rng = np.random.default_rng(seed)
    kind = replace(EVERYTHING, layers=int(rng.integers(1, 6)), switches=False, groups=False, state_copies=seed % 2 == 0)
    table = cost_table(random_chain(rng, kind))
    return replace(table, memory_bytes=np.full(2, np.inf))


def long_chain(layers: int, levels: int) -> CostTable:
    """Layers that run faster at higher levels, where they draw more."""
    rng = np.random.default_rng(layers)
    table = cost_table(random_chain(rng, Kind(layers, 3, levels, energy=True, overheads=True, unsupported=0.0)))
    speed = np.tile(np.arange(1, levels + 1), 3)
    seconds = rng.uniform(20.0, 40.0, (layers, 1)) * rng.uniform(0.8, 1.2, table.layer_s.shape) / speed
    joules = rng.uniform(1.0, 2.0, (layers, 1)) * rng.uniform(0.8, 1.2, table.layer_s.shape) * speed**2
    return replace(table, layer_s=seconds, layer_j=joules, idle_w=np.zeros(3))


@pytest.mark.parametrize("seeds", [range(20), pytest.param(range(20, 100), marks=pytest.mark.slow)])
def test_the_front_along_a_chain_equals_that_of_all_plans(seeds: range) -> None:
    for seed in seeds:
        table = small_chain(seed)
        found = chain_front(table)
        assert found is not None
        wanted = front([(timeline.seconds, timeline.joules or 0.0) for _, timeline in every_plan(table)])
        assert len(found) == len(wanted), seed
        assert np.allclose([(point.seconds, point.joules) for point in found], wanted, rtol=1e-9), seed
        for point in found:
            timeline = simulate(table, point.proposal)
            assert (timeline.seconds, timeline.joules) == pytest.approx((point.seconds, point.joules), rel=1e-9)


def test_the_front_of_a_chain_with_switches_and_groups_equals_that_of_all_plans() -> None:
    for seed in range(25):
        rng = np.random.default_rng(seed)
        kind = replace(EVERYTHING, layers=int(rng.integers(2, 6)), groups=seed % 3 == 0, segments=seed % 2 == 0)
        table = cost_table(random_chain(rng, kind))
        table = replace(table, memory_bytes=np.full(2, np.inf))
        wanted = front([(timeline.seconds, timeline.joules or 0.0) for _, timeline in every_plan(table)])
        known = [(seconds * 1.2, joules * 1.1) for seconds, joules in wanted]
        for found in (chain_front(table), chain_front(table, known=known)):
            assert found is not None
            timelines = [simulate(table, point.proposal) for point in found]
            points = [(timeline.seconds, timeline.joules or 0.0) for timeline in timelines]
            assert np.allclose(points, [(point.seconds, point.joules) for point in found], rtol=1e-9), seed
            assert np.allclose(front(points), wanted, rtol=1e-9), seed


def test_half_planes_prune_only_plans_outside_them() -> None:
    table = long_chain(12, 2)
    whole = chain_front(table)
    assert whole is not None
    assert len(whole) > 5
    middle = whole[len(whole) // 2]
    for planes in (
        [HalfPlane(1.0, 0.0, middle.seconds)],
        [HalfPlane(0.0, 1.0, middle.joules)],
        [HalfPlane(1.0, 2.0, middle.seconds + 2.0 * middle.joules)],
    ):
        pruned = chain_front(table, planes)
        assert pruned is not None
        inside = [p for p in whole if all(h.seconds * p.seconds + h.joules * p.joules <= h.limit for h in planes)]
        kept = {(round(p.seconds, 6), round(p.joules, 6)) for p in pruned}
        assert {(round(p.seconds, 6), round(p.joules, 6)) for p in inside} <= kept
        assert len(pruned) < len(whole)


def test_the_least_energy_under_a_deadline_is_on_the_front() -> None:
    table = long_chain(20, 2)
    whole = chain_front(table)
    assert whole is not None
    for share in (0.2, 0.5, 0.8):
        deadline = whole[int(share * (len(whole) - 1))].seconds * 1.0001
        answer = sequential(table, Request(objective="energy", deadline_s=deadline))
        least = min(point.joules for point in whole if point.seconds <= deadline)
        assert answer.bound == pytest.approx(least, rel=1e-9)
        timelines = [simulate(table, proposal) for proposal in answer.proposals]
        within = [timeline.joules for timeline in timelines if timeline.seconds <= deadline]
        assert min(within) == pytest.approx(least, rel=1e-9)


def test_a_chain_of_60_layers_and_15_states_is_planned_under_a_deadline_with_a_small_gap() -> None:
    table = long_chain(60, 5)
    fastest = min(sequential(table, Request()).bound or 0.0, np.inf)
    request = Request(objective="energy", deadline_s=2.0 * fastest, time_limit_s=5.0)
    answer = sequential(table, request)
    timelines = [simulate(table, proposal) for proposal in answer.proposals]
    best = min(timeline.joules or 0.0 for timeline in timelines if timeline.seconds <= 2.0 * fastest * (1 + 1e-9))
    assert answer.bound is not None
    assert answer.bound <= best * (1 + 1e-9)
    assert best <= answer.bound * 1.01


def test_a_front_too_large_to_be_exact_is_thinned_and_says_so() -> None:
    table = long_chain(30, 4)
    assert chain_front(table, label_limit=5_000) is None
    thin = chain_front(table, width_s=4.0)
    assert thin is not None
    seconds = [point.seconds for point in thin]
    assert seconds == sorted(seconds)
    assert len(seconds) <= len(table.state_names) * len({int(s) for s in seconds})
    assert all(simulate(table, point.proposal).seconds == pytest.approx(point.seconds) for point in thin[::50])


def test_a_chain_whose_slices_are_coupled_has_a_front_that_is_not_called_exact() -> None:
    table = replace(long_chain(15, 2), memory_bytes=np.array([np.inf, 200.0, 200.0]))
    found = planned_front(table, Request(time_limit_s=1.0))
    assert found.how.startswith("whole search") or not found.exact
    assert found.plans


def test_every_plan_of_a_front_is_judged_though_finding_them_took_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    table = long_chain(12, 2)
    whole = solve_front(table, Request(pareto=True))

    def late(table: CostTable, request: Request) -> Answer:
        answer = pareto(table, replace(request, time_limit_s=10.0))
        time.sleep(0.05)
        return answer

    one = replace(registry.METHODS["pareto"], function=late)
    monkeypatch.setitem(registry.METHODS, "pareto", one)  # type: ignore[arg-type]
    cut_short = solve_front(table, Request(pareto=True, time_limit_s=0.02))
    assert len(whole) > 3
    assert [plan.predicted for plan in cut_short] == [plan.predicted for plan in whole]
