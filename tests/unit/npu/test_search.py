"""The exact search: equal to brute force, never beaten, honest in its certificate, monotone in what hardware gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.npu.costs.evaluate import Objective, evaluate
from mosaic_onnx.npu.costs.tiling import candidate_tilings
from mosaic_onnx.npu.hardware.file import load_hardware
from mosaic_onnx.npu.layers.nest import VectorWork
from mosaic_onnx.npu.search.dataflow import best_dataflow
from mosaic_onnx.npu.search.exact import best_mapping
from mosaic_onnx.npu.search.fixed import FIXED, restriction_of
from mosaic_onnx.npu.search.genetic import genetic_mapping
from mosaic_onnx.npu.search.space import space_of
from tests.unit.npu.helpers import (
    CONTIGUOUS,
    EVERY_ORDER,
    convolution,
    least_by_brute_force,
    random_hardware,
    random_nest,
)

OBJECTIVES: tuple[Objective, ...] = ("latency", "energy", "edp")


def check_against_brute_force(seed: int, orders: tuple[tuple[str, ...], ...]) -> bool:
    """Compare one random layer; false where no tile fits and both say so."""
    draw = np.random.default_rng(seed)
    nest, hardware = random_nest(draw, 4), random_hardware(draw)
    objective = OBJECTIVES[seed % 3]
    least = least_by_brute_force(nest, hardware, objective, orders)
    if not np.isfinite(least):
        with pytest.raises(InfeasibleError, match="buffer"):
            best_mapping(nest, hardware, objective)
        return False
    found = best_mapping(nest, hardware, objective)
    assert found.cost.value(objective) == pytest.approx(least, rel=1e-12), (seed, nest, hardware, found.mapping)
    assert found.certificate.bound == pytest.approx(least, rel=1e-12)
    return True


def test_the_search_finds_what_brute_force_over_all_integer_tiles_orders_and_factors_finds() -> None:
    orders = EVERY_ORDER[::5] + CONTIGUOUS
    assert sum(check_against_brute_force(seed, orders) for seed in range(25)) > 15


@pytest.mark.slow
def test_the_search_is_brute_force_on_a_thousand_layers() -> None:
    assert sum(check_against_brute_force(seed, CONTIGUOUS) for seed in range(1000)) > 700


@pytest.mark.slow
def test_no_order_of_the_five_loops_beats_those_searched() -> None:
    assert sum(check_against_brute_force(seed, EVERY_ORDER) for seed in range(5000, 5040)) > 20


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_fixed_dataflow_and_no_genetic_search_is_better(objective: Objective) -> None:
    hardware = load_hardware("eyeriss")
    for nest in (convolution(16, 14, 24), convolution(24, 9, 8, 1, 1, 0), convolution(3, 20, 16, 5, 2, 2)):
        best = best_mapping(nest, hardware, objective).cost.value(objective)
        for name in FIXED:
            fixed = best_mapping(nest, hardware, objective, restriction_of(name, nest, hardware))
            assert fixed.cost.value(objective) >= best * (1 - 1e-12), name
        for seed in range(3):
            assert genetic_mapping(nest, hardware, objective, seed).cost.value(objective) >= best * (1 - 1e-12)


def test_random_layers_are_never_below_the_bound_and_never_above_a_fixed_dataflow() -> None:
    for seed in range(40):
        draw = np.random.default_rng(seed)
        nest, hardware = random_nest(draw, 7), random_hardware(draw)
        try:
            best = best_mapping(nest, hardware)
        except InfeasibleError:
            continue
        assert best.cost.cycles >= best.cost.bound_cycles * (1 - 1e-12)
        for name in FIXED:
            try:
                fixed = best_mapping(nest, hardware, "latency", restriction_of(name, nest, hardware))
            except UsageError:
                continue
            assert fixed.cost.cycles >= best.cost.cycles * (1 - 1e-12), (seed, name)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_more_bandwidth_more_elements_or_more_buffer_never_cost_more(objective: Objective) -> None:
    for seed in range(25):
        draw = np.random.default_rng(seed)
        nest, hardware = random_nest(draw, 7), random_hardware(draw)
        hardware = replace(
            hardware,
            buffer=replace(hardware.buffer, bytes=600, weight_bytes=None, activation_bytes=None, output_bytes=None),
        )
        array, buffer, dram = hardware.array, hardware.buffer, hardware.dram
        larger = (
            replace(hardware, array=replace(array, rows=array.rows + int(draw.integers(1, 5)))),
            replace(hardware, array=replace(array, columns=array.columns + int(draw.integers(1, 5)))),
            replace(hardware, buffer=replace(buffer, bytes=600 + int(draw.integers(1, 900)))),
            replace(hardware, buffer=replace(buffer, bytes_per_cycle=buffer.bytes_per_cycle * 1.7)),
            replace(hardware, dram=replace(dram, bytes_per_cycle=dram.bytes_per_cycle * 1.3)),
        )
        try:
            before = best_mapping(nest, hardware, objective).cost.value(objective)
        except InfeasibleError:
            continue
        for each in larger:
            assert best_mapping(nest, each, objective).cost.value(objective) <= before * (1 + 1e-12), (seed, each)


def test_the_certificate_counts_every_mapping_once() -> None:
    nest, hardware = convolution(8, 10, 12), load_hardware("eyeriss")
    certificate = best_mapping(nest, hardware).certificate
    space = space_of(nest, hardware)
    tilings = len(candidate_tilings(nest).trips("N"))
    every = tilings * len(space.orders) * 2 * space.array_choice_count
    assert certificate.evaluated + sum(certificate.pruned.values()) == every
    assert certificate.gap == 0.0
    assert certificate.evaluated > 0


def test_tiles_never_exceed_the_buffer() -> None:
    hardware = load_hardware("eyeriss")
    small = replace(hardware, buffer=replace(hardware.buffer, bytes=4096))
    found = best_mapping(convolution(32, 28, 32), small)
    mapping = found.mapping
    tiles = mapping.tiles
    weights = tiles["K"] * tiles["C"] * 9
    inputs = tiles["C"] * min(28, tiles["P"] + 2) * min(28, tiles["Q"] + 2)
    outputs = tiles["K"] * tiles["P"] * tiles["Q"]
    copies = 2 if mapping.double_buffered else 1
    assert 2 * (copies * (weights + inputs) + outputs) <= 4096
    with pytest.raises(InfeasibleError, match="do not fit"):
        evaluate(convolution(32, 28, 32), replace(small, buffer=replace(small.buffer, bytes=64)), mapping)


def test_a_layer_whose_least_tile_does_not_fit_is_refused_by_name() -> None:
    hardware = load_hardware("eyeriss")
    tiny = replace(hardware, buffer=replace(hardware.buffer, bytes=16))
    with pytest.raises(InfeasibleError, match="conv: the smallest tile"):
        best_mapping(convolution(), tiny)


def test_a_fixed_dataflow_that_the_array_cannot_unroll_is_refused_with_the_loops() -> None:
    with pytest.raises(UsageError, match="cannot run the dataflow shidiannao"):
        restriction_of("shidiannao", convolution(), load_hardware("nvdla-full"))
    with pytest.raises(UsageError, match="no dataflow is called"):
        restriction_of("fastest", convolution(), load_hardware("eyeriss"))


def test_the_genetic_search_repeats_for_a_seed_and_stays_within_its_evaluations() -> None:
    nest, hardware = convolution(16, 14, 16), load_hardware("eyeriss")
    one, again = (genetic_mapping(nest, hardware, "edp", 7) for _ in range(2))
    assert one == again
    assert one.certificate.evaluated + one.certificate.pruned["capacity"] <= 10 * 20
    assert one.certificate.bound is None


def test_what_was_searched_once_comes_from_the_cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, hardware = Cache(tmp_path), load_hardware("eyeriss")
    first = best_dataflow(convolution(), hardware, cache=cache)
    monkeypatch.setattr("mosaic_onnx.npu.search.dataflow.best_mapping", None)
    assert best_dataflow(replace(convolution(), name="other"), hardware, cache=cache).mapping == first.mapping
    faster = replace(hardware, dram=replace(hardware.dram, bytes_per_cycle=4.8))
    with pytest.raises(TypeError):
        best_dataflow(convolution(), faster, cache=cache)


def test_depthwise_runs_as_the_hardware_says() -> None:
    nest = replace(convolution(1, 14, 32), kind="depthwise")
    native = best_dataflow(nest, load_hardware("eyeriss"))
    vector = best_dataflow(nest, load_hardware("midap"))
    dense = best_dataflow(nest, load_hardware("kirin970"))
    assert native.mapping is not None
    assert vector.mapping is None
    assert vector.dataflow == "vector"
    assert dense.cost.array_cycles > 14 * 14 * 9


def test_vector_work_is_bound_by_lanes_or_memory() -> None:
    hardware = load_hardware("eyeriss")
    many = best_dataflow(VectorWork("softmax", "Softmax", 10**6, 1000, 1000), hardware).cost
    few = best_dataflow(VectorWork("copy", "Transpose", 0, 10**6, 10**6), hardware).cost
    assert many.cycles == pytest.approx(10**6 / 14 + 20)
    assert few.cycles == pytest.approx(4 * 10**6 / 2.4 + 20)
