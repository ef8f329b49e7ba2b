"""Throughput: pipelines with one slice a device, and layers spread over devices; against brute force and papers."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.importers import import_profile
from mosaic_onnx.planner.core.device_classes import device_classes
from mosaic_onnx.planner.core.orders import predecessors
from mosaic_onnx.planner.core.request import Answer, MethodUnavailable, PlacedSlice, Request
from mosaic_onnx.planner.core.simulate import simulate, together, value
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.planner.throughput import cpsat as spread_cpsat
from mosaic_onnx.planner.throughput.loads import Loads, pieces_of
from mosaic_onnx.planner.throughput.method import throughput
from mosaic_onnx.planner.throughput.pipeline import one_slice_per_device
from mosaic_onnx.planner.throughput.units import units
from tests.unit.planner.random_graphs import EVERYTHING, Kind, random_chain, random_profile

PIPELINE = Request(objective="throughput", one_slice_per_device=True)
SPREAD = Request(objective="throughput", time_limit_s=5.0)
PUBLISHED_MS = {
    "LayerGraphs/bert24_inference": 17.790,
    "LayerGraphs/resnet50_inference": 33.775,
    "LayerGraphs/gnmt_inference": 32.911,
    "OperatorGraphs/bert_l-3_inference": 27.919,
    "OperatorGraphs/bert_l-6_inference": 29.580,
    "OperatorGraphs/bert_l-12_inference": 147.478,
    "OperatorGraphs/resnet50_inference": 124.349,
}
"""Exact values of the benchmark's README."""

EXCLUSIVE: tuple[tuple[tuple[int, ...], ...], ...] = ((), ((1,), (0,), ()), ((1, 2), (0, 2), (0, 1)))
"""Of three devices: none, the first two, and all three exclude each other."""


def workload(shared: Path, name: str) -> CostTable:
    file = shared / "benchmarks" / "dnn-partitioning" / "throughput-inputs" / f"{name}.json"
    return cost_table(import_profile("dnn-partitioning", file))


def best_load(table: CostTable, answer: Answer) -> float:
    """The simulator's word on the best of an answer's proposals."""
    loads = [np.inf]
    for proposal in answer.proposals:
        try:
            loads.append(simulate(table, proposal).interval_seconds)
        except InfeasibleError:
            continue
    return min(loads)


def pipeline_by_brute_force(table: CostTable) -> float:
    """The least largest load over all ways to give each used device one set of layers that can run in some order."""
    best, before = np.inf, predecessors(table)
    for states in itertools.product(range(len(table.state_names)), repeat=len(table.layer_names)):
        if len({int(table.state_device[s]) for s in states}) < len(set(states)):
            continue
        waiting = {s: [layer for layer, one in enumerate(states) if one == s] for s in states}
        proposal: list[PlacedSlice] = []
        done: set[int] = set()
        while waiting:
            ready = [s for s, own in waiting.items() if all({*before[layer]} <= done | {*own} for layer in own)]
            if not ready:
                break
            proposal.append(PlacedSlice(tuple(waiting.pop(ready[0])), ready[0]))
            done |= set(proposal[-1].layers)
        if not waiting:
            best = min(best, best_load(table, Answer((tuple(proposal),))))
    return best


def spread_by_brute_force(table: CostTable) -> float:
    """The least largest load over all placements, slices as long as the list order allows."""
    best = np.inf
    for states in itertools.product(range(len(table.state_names)), repeat=len(table.layer_names)):
        runs = [
            (s, [layer for layer, _ in run]) for s, run in itertools.groupby(enumerate(states), lambda pair: pair[1])
        ]
        proposal = tuple(PlacedSlice(tuple(layers), s) for s, layers in runs)
        best = min(best, best_load(table, Answer((proposal,))))
    return best


@pytest.mark.parametrize("name", PUBLISHED_MS)
def test_the_published_optimum_is_found_and_proved(shared: Path, name: str) -> None:
    table = workload(shared, name)
    answer = one_slice_per_device(table, PIPELINE)
    found_ms = best_load(table, answer) * 1e3
    assert found_ms == pytest.approx(PUBLISHED_MS[name], rel=1e-3)
    assert answer.bound is not None
    assert answer.bound * 1e3 == pytest.approx(found_ms, rel=1e-6)
    assert answer.bound_method == "all downward-closed sets, exact"


def test_inception_v3_is_solved_below_the_published_value(shared: Path) -> None:
    table = workload(shared, "LayerGraphs/inceptionv3_inference")
    answer = one_slice_per_device(table, PIPELINE)
    found_ms = best_load(table, answer) * 1e3
    assert found_ms < 51.6
    assert answer.bound is not None
    assert answer.bound * 1e3 >= found_ms * (1 - 1e-6)


def idle_some(profile: Profile, rng: np.random.Generator) -> Profile:
    """The profile with half of the layers taking no time and some tensors costing nothing to move."""
    layers = tuple(
        replace(layer, cost={state: replace(cost, seconds=0.0) for state, cost in layer.cost.items() if cost})
        if rng.random() < 0.5
        else layer
        for layer in profile.layers
    )
    copies = tuple(replace(copy, seconds=0.0) for copy in profile.copies)
    sizes = {name: 0 if rng.random() < 0.4 else size for name, size in profile.tensor_bytes.items()}
    return replace(profile, layers=layers, copies=copies, tensor_bytes=sizes)


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (Kind(6, 3), 30),
        (Kind(6, 3, groups=True, overheads=True, io_host=True), 30),
        (Kind(5, 2, levels=2, state_copies=True, switches=True, overheads=True), 20),
    ],
)
def test_a_pipeline_is_as_good_as_brute_force_finds(kind: Kind, count: int) -> None:
    for seed in range(count):
        table = cost_table(random_profile(np.random.default_rng(seed), kind))
        best = pipeline_by_brute_force(table)
        try:
            answer = one_slice_per_device(table, PIPELINE)
        except InfeasibleError:
            assert best == np.inf
            continue
        assert best_load(table, answer) == pytest.approx(best)
        assert answer.bound == pytest.approx(best)


@pytest.mark.parametrize("seeds", [range(15), pytest.param(range(15, 40), marks=pytest.mark.slow)])
def test_layers_that_take_no_time_are_placed_without_loss(seeds: range) -> None:
    joined = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        table = cost_table(idle_some(random_profile(rng, Kind(6, 3)), rng))
        joined += len(table.layer_names) - len(units(table, join_idle=True).layers)
        assert best_load(table, one_slice_per_device(table, PIPELINE)) == pytest.approx(pipeline_by_brute_force(table))
    assert joined > len(seeds) / 2


@pytest.mark.parametrize(
    "kind",
    [
        Kind(5, 3, caps=True, groups=True),
        Kind(6, 3, direct=True),
        replace(EVERYTHING, levels=1),
    ],
)
def test_a_bound_holds_whatever_the_profile_has(kind: Kind) -> None:
    for seed in range(25):
        table = cost_table(random_profile(np.random.default_rng(seed), kind))
        best = pipeline_by_brute_force(table)
        try:
            answer = one_slice_per_device(table, PIPELINE)
        except InfeasibleError:
            assert best == np.inf
            continue
        if answer.bound is not None and best < np.inf:
            assert answer.bound <= best * (1 + 1e-9)


def test_too_many_downward_closed_sets_still_give_a_plan_and_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosaic_onnx.planner.throughput.pipeline.MAX_IDEALS", 10)
    better = 0
    for seed in range(10):
        table = cost_table(random_profile(np.random.default_rng(seed), Kind(12, 3, reach=12)))
        answer = one_slice_per_device(table, PIPELINE)
        assert answer.bound_method == "fractional area"
        assert answer.bound is not None
        assert answer.bound <= best_load(table, answer) * (1 + 1e-9)
        begun_with = simulate(table, answer.proposals[-1]).interval_seconds
        better += best_load(table, answer) < begun_with - 1e-9
    assert better > 0


def chain_on(devices: int, seconds: float = 1.0) -> Profile:
    """Six equal layers in a row on equal devices whose memory holds three of them."""
    names = [f"d{index}" for index in range(devices)]
    layers = tuple(
        ProfileLayer(f"l{n}", (f"t{n}",), (f"t{n + 1}",), dict.fromkeys(names, Cost(seconds)), parameter_bytes=10)
        for n in range(6)
    )
    tensors = {f"t{n}": 0 for n in range(7)}
    copies = tuple(TransferCost(*pair) for name in names for pair in (("host", name), (name, "host")))
    return Profile("chain", tuple(Device(n, memory_bytes=30) for n in names), tensors, ("t0",), ("t6",), layers, copies)


def test_equal_devices_are_of_one_class_and_unequal_ones_are_not() -> None:
    assert [one.devices for one in device_classes(cost_table(chain_on(3)))] == [(0, 1, 2)]
    profile = chain_on(3)
    odd = replace(profile, devices=(*profile.devices[:2], replace(profile.devices[2], memory_bytes=31)))
    assert [one.devices for one in device_classes(cost_table(odd))] == [(0, 1), (2,)]


def test_a_memory_cap_forces_more_devices() -> None:
    table = cost_table(chain_on(2))
    assert best_load(table, one_slice_per_device(table, PIPELINE)) == pytest.approx(3.0)


def test_a_pipeline_that_cannot_be_is_said_to_be_impossible() -> None:
    with pytest.raises(InfeasibleError, match="one slice per device"):
        one_slice_per_device(cost_table(chain_on(1)), PIPELINE)


def test_a_group_pulls_what_lies_between_into_its_slice() -> None:
    profile = chain_on(3)
    layers = tuple(replace(layer, group="g" if n in (0, 2) else "") for n, layer in enumerate(profile.layers))
    table = cost_table(replace(profile, layers=layers))
    assert units(table, join_idle=False).layers[0] == (0, 1, 2)
    assert best_load(table, one_slice_per_device(table, PIPELINE)) == pytest.approx(3.0)


@pytest.mark.parametrize("exclusive", EXCLUSIVE)
def test_loads_agree_with_the_simulator_while_pieces_move(exclusive: tuple[tuple[int, ...], ...]) -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        table = cost_table(random_profile(rng, Kind(7, 3, direct=True, groups=True, unsupported=0.0)))
        table = replace(table, exclusive=exclusive)
        pieces = pieces_of(table)
        loads = Loads(table, pieces, rng.integers(0, 3, len(pieces)).tolist())
        for _ in range(5):
            loads.move(int(rng.integers(0, len(pieces))), int(rng.integers(0, 3)))
        states = loads.layer_states()
        alone = tuple(PlacedSlice((layer,), int(state)) for layer, state in enumerate(states))
        assert loads.seconds == pytest.approx(together(table, simulate(table, alone).load_s))


@pytest.mark.parametrize(
    ("kind", "exclusive"),
    [
        (Kind(6, 3), ()),
        (Kind(6, 3, direct=True, groups=True), ()),
        (Kind(5, 2, levels=2), ()),
        (Kind(6, 3), EXCLUSIVE[1]),
        pytest.param(Kind(6, 3, direct=True, groups=True), EXCLUSIVE[2], marks=pytest.mark.slow),
    ],
)
def test_layers_spread_over_devices_are_as_good_as_brute_force_finds(
    kind: Kind, exclusive: tuple[tuple[int, ...], ...]
) -> None:
    pytest.importorskip("ortools", reason="the extra 'solver' is not installed")
    for seed in range(15):
        table = replace(cost_table(random_profile(np.random.default_rng(seed), kind)), exclusive=exclusive)
        best = spread_by_brute_force(table)
        answer = spread_cpsat.throughput_cpsat(table, SPREAD)
        assert best_load(table, answer) == pytest.approx(best)
        assert answer.bound == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("exclusive", [*EXCLUSIVE[:2], pytest.param(EXCLUSIVE[2], marks=pytest.mark.slow)])
@pytest.mark.parametrize("seeds", [range(8), pytest.param(range(8, 25), marks=pytest.mark.slow)])
def test_without_the_solver_spreading_stays_above_its_bound_and_close_to_the_best(
    seeds: range, exclusive: tuple[tuple[int, ...], ...]
) -> None:
    excess = []
    for seed in seeds:
        table = replace(cost_table(random_profile(np.random.default_rng(seed), Kind(6, 3))), exclusive=exclusive)
        best = spread_by_brute_force(table)
        answer = throughput(table, SPREAD)
        assert answer.bound is not None
        assert answer.bound <= best * (1 + 1e-9)
        excess.append(best_load(table, answer) / best - 1)
    assert min(excess) > -1e-9
    assert np.mean(excess) < 0.02


@pytest.mark.parametrize("seeds", [range(10), pytest.param(range(10, 40), marks=pytest.mark.slow)])
def test_spreading_keeps_every_constraint_and_every_bound(seeds: range) -> None:
    feasible = 0
    for seed in seeds:
        table = cost_table(random_profile(np.random.default_rng(seed), EVERYTHING))
        best = spread_by_brute_force(table)
        answers = [throughput(table, SPREAD)]
        if spread_cpsat.available():
            answers.append(spread_cpsat.throughput_cpsat(table, SPREAD))
        for answer in answers:
            load = best_load(table, answer)
            assert answer.bound is not None
            assert answer.bound <= min(best, load) * (1 + 1e-9)
            feasible += load < np.inf
    assert feasible > 1.5 * len(seeds)


def test_without_ortools_the_exact_method_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_cpsat, "available", lambda: False)
    with pytest.raises(MethodUnavailable, match="solver"):
        spread_cpsat.throughput_cpsat(cost_table(chain_on(2)), SPREAD)


def test_a_chain_whose_solver_takes_all_the_time_gets_the_plan_that_it_began_with() -> None:
    table = cost_table(random_chain(np.random.default_rng(0), Kind(90, 3, groups=True)))
    request = replace(SPREAD, time_limit_s=3.0)
    both = solve(table, request)
    assert value(both.timeline, "throughput") <= best_load(table, throughput(table, request)) * (1 + 1e-9)


def test_the_best_pipeline_of_a_wide_graph_is_named_first() -> None:
    table = cost_table(random_profile(np.random.default_rng(1), Kind(20, 3, reach=8)))
    answer = one_slice_per_device(table, PIPELINE)
    assert len(answer.proposals) > 1
    assert simulate(table, answer.proposals[0]).interval_seconds == best_load(table, answer)
