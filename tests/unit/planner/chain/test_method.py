"""The interval program: exact on chains, an honest estimate along any order of any graph."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.profiles import Cost
from mosaic_onnx.planner.baselines.algorithm1 import find_efficient_slicing_and_execution_plan
from mosaic_onnx.planner.chain.chain_costs import chain_costs, is_chain, is_tight
from mosaic_onnx.planner.chain.dynamic_program import best_on_chain
from mosaic_onnx.planner.chain.graph_order import best_along
from mosaic_onnx.planner.chain.method import best_slices, interval
from mosaic_onnx.planner.core.memory import slice_memory
from mosaic_onnx.planner.core.memory_windows import first_layers, slice_caps
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, weigh
from mosaic_onnx.planner.core.request import PlacedSlice, Request
from mosaic_onnx.planner.core.simulate import simulate, value
from tests.unit.files.test_profile_file import tiny
from tests.unit.planner.brute_force import least
from tests.unit.planner.random_profiles import random_profile


def random_table(
    seed: int, layer_count: int, state_count: int, *, chain: bool = True, groups: bool = False
) -> CostTable:
    """A table without what the interval program leaves out: caps over slices and switches."""
    return cost_table(
        random_profile(
            seed,
            chain=chain,
            layer_count=layer_count,
            state_count=state_count,
            device_caps=False,
            switches=False,
            groups=groups,
        )
    )


def without_direct(table: CostTable) -> CostTable:
    """The program along an order does not know direct copies."""
    return replace(table, direct_s={}, direct_j={})


@pytest.mark.parametrize("min_slice_count", [0, 2, 3, 9])
@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_chains_are_planned_exactly(objective: str, min_slice_count: int) -> None:
    for seed in range(60):
        table = random_table(seed * 7 + min_slice_count, 1 + seed % 5, 1 + seed % 3)
        if objective != "latency" and table.layer_j is None:
            continue
        request = Request(objective=objective, min_slice_count=min_slice_count)  # type: ignore[arg-type]
        best = least(table, request.objective, min_slice_count)
        if best is None:
            with pytest.raises(InfeasibleError):
                interval(table, request)
            continue
        answer = interval(table, request)
        figures = [value(simulate(table, proposal), request.objective) for proposal in answer.proposals]
        assert min(figures) == pytest.approx(best)
        assert answer.bound == pytest.approx(best)
        assert answer.bound_method == "interval, exact"
        assert all(len(proposal) >= min(min_slice_count, len(table.layer_names)) for proposal in answer.proposals)


def test_groups_are_planned_exactly_on_chains() -> None:
    for seed in range(120):
        table = random_table(seed, 2 + seed % 4, 2 + seed % 2, groups=True)
        best = least(table)
        if best is None:
            with pytest.raises(InfeasibleError):
                interval(table, Request())
            continue
        answer = interval(table, Request())
        assert simulate(table, answer.proposals[0]).seconds == pytest.approx(best)
        assert answer.bound == pytest.approx(best)


def test_the_windows_of_caps_are_those_of_the_memory_model() -> None:
    checked = 0
    for seed in range(400):
        table = random_table(seed, 1 + seed % 9, 1 + seed % 4, chain=seed % 2 == 0)
        count, caps = len(table.layer_names), slice_caps(table)
        for state, firsts in first_layers(table, range(count)).items():
            for last in range(count):
                fitting = (
                    first
                    for first in range(last + 1)
                    if slice_memory(table, PlacedSlice(tuple(range(first, last + 1)), state)).total <= caps[state]
                )
                assert firsts[last] == next(fitting, last + 1)
                checked += 1
    assert checked > 500


def test_both_programs_agree_on_chains() -> None:
    for seed in range(300):
        table = without_direct(random_table(seed, 1 + seed % 12, 1 + seed % 4))
        weighed = weigh(table, ENERGY if table.layer_j is not None and seed % 2 else LATENCY)
        order = range(len(table.layer_names))
        assert is_chain(table, order)
        assert is_tight(table)
        try:
            exact, _ = best_on_chain(chain_costs(table, weighed, order))
        except InfeasibleError:
            with pytest.raises(InfeasibleError):
                best_along(table, weighed, order)
            continue
        assert best_along(table, weighed, order)[0] == pytest.approx(exact)


def random_order(draw: random.Random, table: CostTable) -> tuple[int, ...]:
    order: list[int] = []
    waiting = list(range(len(table.layer_names)))
    while waiting:
        ready = [
            layer
            for layer in waiting
            if all(table.producer[t] < 0 or int(table.producer[t]) in order for t in table.layer_inputs[layer])
        ]
        order.append(draw.choice(ready))
        waiting.remove(order[-1])
    return tuple(order)


@pytest.mark.parametrize("min_slice_count", [0, 3])
def test_along_any_order_of_a_graph_the_estimate_is_never_too_low(min_slice_count: int) -> None:
    planned = 0
    for seed in range(300):
        table = without_direct(random_table(seed, 1 + seed % 9, 1 + seed % 4, chain=False))
        order = random_order(random.Random(seed), table)
        try:
            estimate, proposal = best_along(table, weigh(table, LATENCY), order, min_slice_count)
        except InfeasibleError:
            continue
        timeline = simulate(table, proposal)
        assert [layer for placed in proposal for layer in placed.layers] == list(order)
        assert timeline.seconds <= estimate + 1e-9
        assert len(proposal) >= min(min_slice_count, len(order))
        planned += 1
    assert planned > 150


def test_on_graphs_the_plan_is_near_the_best_of_its_order() -> None:
    ratios = []
    for seed in range(120):
        table = random_table(seed, 1 + seed % 6, 1 + seed % 3, chain=False)
        best = least(table)
        if best:
            found = best_slices(table, weigh(table, LATENCY))
            ratios.append(simulate(table, found.proposal).seconds / best)
    assert min(ratios) >= 1 - 1e-9
    assert np.mean(ratios) < 1.03


def test_over_host_io_devices_algorithm_1_finds_the_same() -> None:
    for seed in range(150):
        table = random_table(seed, 1 + seed % 7, 1 + seed % 4)
        table = replace(table, io_host=np.ones_like(table.io_host), direct_s={}, direct_j={}, segments={})
        try:
            fast = best_slices(table, weigh(table, LATENCY))
        except InfeasibleError:
            with pytest.raises(InfeasibleError):
                find_efficient_slicing_and_execution_plan(table)
            continue
        assert find_efficient_slicing_and_execution_plan(table).cost == pytest.approx(fast.cost)


def test_the_papers_accounting_misses_what_leaves_from_the_middle() -> None:
    profile = tiny()
    branch = replace(profile, outputs=("a", "y"))
    table = cost_table(branch)
    both = replace(table, layer_s=np.where(np.isinf(table.layer_s), 0.001, table.layer_s), segments={})
    paper = find_efficient_slicing_and_execution_plan(both, LATENCY, "paper")
    counted = find_efficient_slicing_and_execution_plan(both, LATENCY, "tensors")
    assert len(paper.slices) == 1
    assert simulate(both, paper.slices).seconds > paper.cost
    assert simulate(both, counted.slices).seconds == pytest.approx(counted.cost)


def test_the_formats_example_is_planned_as_the_format_says() -> None:
    answer = interval(cost_table(tiny()), Request())
    assert answer.proposals == ((PlacedSlice((0,), 2), PlacedSlice((1,), 1)),)
    assert answer.bound == pytest.approx(0.003071408)
    assert answer.bound_method == "interval, exact"


def test_a_long_slice_is_split_where_the_cap_binds() -> None:
    profile = tiny()
    layers = tuple(
        replace(layer, parameter_bytes=60_000_000, cost={"npu": replace(layer.cost["cpu@600MHz"], seconds=1e-4)})
        for layer in profile.layers
        if layer.cost["cpu@600MHz"] is not None
    )
    table = cost_table(replace(profile, layers=layers, segments=()))
    assert interval(table, Request()).proposals == ((PlacedSlice((0,), 2), PlacedSlice((1,), 2)),)


def test_a_layer_that_no_state_can_run_is_infeasible() -> None:
    profile = tiny()
    layers = (profile.layers[0], replace(profile.layers[1], cost={}))
    with pytest.raises(InfeasibleError):
        interval(cost_table(replace(profile, layers=layers)), Request())


def test_a_model_without_layers_has_an_empty_plan() -> None:
    profile = replace(tiny(), layers=(), outputs=("x",), segments=())
    assert interval(cost_table(profile), Request()).proposals == ((),)


@pytest.mark.parametrize("chain", [True, False])
def test_any_number_of_slices_can_be_demanded_of_a_long_model(chain: bool) -> None:
    profile = random_profile(3, chain=chain, layer_count=120, state_count=3, device_caps=False, switches=False)
    devices = tuple(replace(device, slice_memory_bytes=None) for device in profile.devices)
    costs = {state: Cost(1.0 + number, 1.0) for number, state in enumerate(profile.states)}
    layers = tuple(replace(layer, cost=costs, allowed=None) for layer in profile.layers)
    table = cost_table(replace(profile, devices=devices, layers=layers, segments=()))
    seconds = []
    for count in (0, 3, 40, 119, 120, 500):
        found = best_slices(table, weigh(table, LATENCY), min_slice_count=count)
        assert len(found.proposal) >= min(count, 120)
        seconds.append(simulate(table, found.proposal).seconds)
    assert seconds[0] == min(seconds)
    assert seconds[-1] == max(seconds)
