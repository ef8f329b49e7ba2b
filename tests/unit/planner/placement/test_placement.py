"""Exact placements: elimination and integer programs against every placement and against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.objective_weights import LATENCY, weigh
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.placement.milp import linear_model, solve_mixed
from mosaic_onnx.planner.placement.problem import placement, value
from mosaic_onnx.planner.placement.relax import relax, relax_within
from mosaic_onnx.planner.search.initial_solutions import implied_plans
from tests.unit.planner.every_plan import every_plan, placement_costs
from tests.unit.planner.random_graphs import EVERYTHING, Kind, random_profile


def plain(seed: int, layers: int, devices: int, levels: int = 1) -> CostTable:
    rng = np.random.default_rng(seed)
    kind = Kind(layers, devices, levels, direct=seed % 2 == 0, groups=seed % 3 == 0)
    return cost_table(random_profile(rng, kind))


@pytest.mark.parametrize("seeds", [range(200), pytest.param(range(200, 2000), marks=pytest.mark.slow)])
def test_elimination_finds_the_best_of_all_placements(seeds: range) -> None:
    sizes = np.random.default_rng(0)
    for seed in seeds:
        layers = int(sizes.choice([1, 2, 3, 4, 5, 6, 7, 8], p=[0.1, 0.1, 0.15, 0.15, 0.15, 0.15, 0.1, 0.1]))
        table = plain(seed, layers, *((3, 1), (1, 3), (2, 1))[seed % 3])
        _, seconds = placement_costs(table)
        found = relax(table, weigh(table, LATENCY), 1.0, solver="elimination")
        assert found.bound == pytest.approx(seconds.min(), rel=1e-12), seed
        assert found.uncovered == ()
        if np.isfinite(found.bound):
            problem = placement(table, weigh(table, LATENCY))
            assert value(problem, found.states) == pytest.approx(found.bound, rel=1e-12)
            assert found.states is not None
            plan = next(implied_plans(table, [found.states]))
            assert simulate(table, plan).seconds == pytest.approx(found.bound, rel=1e-9)


def test_elimination_and_milp_agree_on_graphs_of_30_to_60_layers() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        kind = Kind(int(rng.integers(30, 61)), 2, reach=5, inputs_per_layer=3, groups=seed % 2 == 0)
        table = cost_table(random_profile(rng, kind))
        weighed = weigh(table, LATENCY)
        answers = [relax(table, weighed, 20.0, solver=name) for name in ("elimination", "milp")]
        costs = [value(placement(table, weighed), answer.states) for answer in answers if answer.states is not None]
        assert costs == pytest.approx([costs[0]] * 2, rel=1e-7), seed
        assert all(answer.bound <= costs[0] * (1 + 1e-9) for answer in answers)


def test_a_wide_graph_on_two_devices_is_placed_exactly() -> None:
    """Its relaxation is a minimum cut, so the integer program has nothing to branch on."""
    table = cost_table(random_profile(np.random.default_rng(1), Kind(300, 2, reach=60)))
    found = relax(table, weigh(table, LATENCY), 20.0)
    assert found.exact
    assert found.states is not None
    assert value(placement(table, weigh(table, LATENCY)), found.states) == pytest.approx(found.bound, rel=2e-6)


def test_a_tensor_read_twice_on_another_device_is_paid_once() -> None:
    table = plain(1, 6, 2)
    slow = np.full_like(table.layer_s, 1.0)
    slow[:, 0] = np.where(np.arange(6) == 0, 1.0, 100.0)  # all but the first layer want device 1
    slow[0, 1] = np.inf
    ends = ((0,), (1,), (1,), (1,), (1,), (1,))
    table = replace(
        table,
        layer_s=slow,
        layer_inputs=ends,
        layer_outputs=tuple((t,) for t in range(1, 7)),
        tensor_names=tuple("abcdefg"),
        tensor_bytes=np.ones(7, dtype=np.int64),
        producer=np.arange(-1, 6),
        consumers=((0,), (1, 2, 3, 4, 5), (), (), (), (), ()),
        is_output=np.zeros(7, dtype=np.bool_),
        group=np.full(6, -1),
        own_memory=np.array([False, True]),
        from_host_s=np.tile([0.0, 7.0], (7, 1)),
        to_host_s=np.tile([0.0, 3.0], (7, 1)),
        direct_s={},
        direct_j={},
    )
    found = relax(table, weigh(table, LATENCY), 1.0)
    assert found.bound == pytest.approx(1.0 + 5 * 1.0 + 7.0)


@pytest.mark.parametrize("seeds", [range(20), pytest.param(range(20, 60), marks=pytest.mark.slow)])
def test_the_bound_never_exceeds_the_best_plan_with_every_feature(seeds: range) -> None:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        kind = replace(EVERYTHING, layers=int(rng.integers(1, 5)), devices=2)
        table = cost_table(random_profile(rng, kind))
        best = min((timeline.seconds for _, timeline in every_plan(table)), default=np.inf)
        weighed = weigh(table, LATENCY)
        assert relax(table, weighed, 1.0).bound <= best * (1 + 1e-9), seed
        assert relax_within(table, [weighed], [], time_limit_s=1.0).bound <= best * (1 + 1e-9), seed
        for keep in (None, possible_states(table)):
            problem = placement(table, weighed, keep)
            if all(len(choices) for choices in problem.choices):
                assert solve_mixed(linear_model(problem), problem, 1.0, whole=False).bound <= best * (1 + 1e-9), seed


def test_a_layer_that_fits_nowhere_makes_the_bound_infinite() -> None:
    table = plain(3, 4, 2)
    table = replace(table, slice_memory_bytes=np.zeros(2), parameter_bytes=np.ones_like(table.parameter_bytes))
    for solver in ("", "elimination", "milp"):
        assert relax(table, weigh(table, LATENCY), 1.0, solver=solver).bound == np.inf
