"""Traffic, latency and energy of single mappings, against walks over every tile and every element."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.npu.costs.energy import operand_accesses_j
from mosaic_onnx.npu.costs.evaluate import evaluate
from mosaic_onnx.npu.costs.mapping import TILED, Mapping, Spatial, Stationary, mapping_from_fields
from mosaic_onnx.npu.costs.simulate import simulate, timeline
from mosaic_onnx.npu.costs.tiling import tile_counts, tilings_of, trip_counts
from mosaic_onnx.npu.costs.traffic import dram_traffic
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.hardware.file import load_hardware
from mosaic_onnx.npu.layers.nest import LoopNest
from tests.unit.npu.helpers import EVERY_ORDER, convolution, random_hardware, random_nest


def random_mapping(nest: LoopNest, hardware: Hardware, draw: np.random.Generator) -> Mapping:
    """Any mapping, whether it fits or not."""
    tiles = {loop: int(draw.integers(1, nest.trip(loop) + 1)) for loop in TILED}
    order = EVERY_ORDER[draw.integers(len(EVERY_ORDER))]
    rows = (("K", int(draw.integers(1, hardware.array.rows + 1))),)
    columns = (("P", int(draw.integers(1, hardware.array.columns + 1))),)
    modes = {"optional": (True, False), "always": (True,), "never": (False,)}[hardware.buffer.double_buffering]
    kept = ("weights", "inputs", "outputs")[draw.integers(3)]
    return Mapping(Spatial(rows, columns), order, tiles, kept, bool(draw.choice(modes)))


def mapped(spatial: Spatial, tiles: dict[str, int], kept: Stationary, double_buffered: bool) -> Mapping:
    """A mapping of one image with the weights' loops outside."""
    return Mapping(spatial, ("K", "C", "N", "P", "Q"), {"N": 1, **tiles}, kept, double_buffered)


def walked_bytes(nest: LoopNest, hardware: Hardware, mapping: Mapping) -> int:
    """DRAM bytes by visiting every tile and counting the elements of each operand that are not there yet."""
    pieces = {}
    for loop in TILED:
        trips = -(-nest.trip(loop) // mapping.tiles[loop])
        ends = np.cumsum([0, *tile_counts(nest.trip(loop), trips)])
        pieces[loop] = [range(a, b) for a, b in pairwise(ends)]

    def lines(outputs: range, side: int) -> int:
        taps, extent = ((nest.R, nest.H), (nest.S, nest.W))[side]
        stride, padding, dilation = nest.stride[side], nest.padding[side], nest.dilation[side]
        first, last = outputs[0] * stride - padding, outputs[-1] * stride - padding + (taps - 1) * dilation
        span = sum(1 for line in range(first, last + 1) if 0 <= line < extent)
        return min(span, len(outputs) * taps)

    size, moved = hardware.precision, 0
    for _ in range(nest.repeats):
        held: dict[str, tuple[int, ...]] = {}
        sums: dict[tuple[int, ...], int] = {}
        for index in product(*(range(len(pieces[loop])) for loop in mapping.order)):
            at = dict(zip(mapping.order, index, strict=True))
            n, k, c, p, q = (pieces[loop][at[loop]] for loop in TILED)
            channels = k if nest.is_depthwise else c
            keys = {
                "w": (at["K"], at["C"]),
                "i": (at["N"], at["K"] if nest.is_depthwise else at["C"], at["P"], at["Q"]),
            }
            if held.get("w") != keys["w"]:
                moved += len(k) * len(c) * nest.R * nest.S * size.weight_bytes
            if held.get("i") != keys["i"]:
                moved += len(n) * len(channels) * lines(p, 0) * lines(q, 1) * size.activation_bytes
            out = (at["N"], at["K"], at["P"], at["Q"])
            elements = len(n) * len(k) * len(p) * len(q)
            if held.get("o") != out:
                if "o" in held:
                    moved += stored(held["o"], sums, pieces, nest, hardware)
                if sums.get(out, 0):
                    moved += elements * size.partial_sum_bytes
            sums[out] = sums.get(out, 0) + len(c)
            held = {**keys, "o": out}
        moved += stored(held["o"], sums, pieces, nest, hardware)
    return moved + nest.residual_elements * size.activation_bytes


def stored(out, sums, pieces, nest: LoopNest, hardware: Hardware) -> int:
    """Bytes of an output tile that leaves the buffer."""
    elements = int(np.prod([len(pieces[loop][place]) for loop, place in zip("NKPQ", out, strict=True)]))
    size = hardware.precision
    return elements * (size.activation_bytes if sums[out] == nest.C else size.partial_sum_bytes)


def test_traffic_is_what_a_walk_over_all_tiles_counts() -> None:
    for seed in range(150):
        draw = np.random.default_rng(seed)
        nest, hardware = random_nest(draw, 5), random_hardware(draw)
        mapping = random_mapping(nest, hardware, draw)
        traffic = dram_traffic(nest, hardware, tilings_of(nest, mapping.tiles), mapping.order)
        assert traffic.total[0] == walked_bytes(nest, hardware, mapping), (seed, nest, mapping)


def test_the_simulation_moves_the_same_bytes_and_is_never_faster_than_the_analytical_model() -> None:
    compared = 0
    for seed in range(600):
        draw = np.random.default_rng(seed)
        nest, hardware = random_nest(draw, 6), random_hardware(draw)
        mapping = random_mapping(nest, hardware, draw)
        try:
            cost = evaluate(nest, hardware, mapping)
        except InfeasibleError:
            continue
        simulated = simulate(nest, hardware, mapping)
        assert simulated.dram_bytes == pytest.approx(cost.dram_bytes)
        assert simulated.cycles >= cost.cycles * (1 - 1e-12), (seed, nest, mapping)
        compared += 1
    assert compared > 200


def test_one_tile_loads_computes_and_stores() -> None:
    nest, hardware = convolution(4, 6, 4), load_hardware("eyeriss")
    mapping = Mapping(
        Spatial((("K", 4),), ()), ("K", "C", "N", "P", "Q"), {"N": 1, "K": 4, "C": 4, "P": 6, "Q": 6}, "weights", True
    )
    cost = evaluate(nest, hardware, mapping)
    moved = 2 * (4 * 4 * 9 + 4 * 36 + 4 * 36)
    steps = 4 * 36 * 9
    assert cost.dram_bytes == moved
    assert cost.array_cycles == steps
    assert cost.cycles == pytest.approx(moved / 2.4 + steps + 20)


def test_partial_sums_travel_when_input_channels_are_not_innermost() -> None:
    nest, hardware = convolution(4, 6, 4), load_hardware("eyeriss")
    tiles = {"N": 1, "K": 4, "C": 2, "P": 3, "Q": 6}
    inner, outer = (
        dram_traffic(nest, hardware, tilings_of(nest, tiles), order)
        for order in (("N", "P", "Q", "K", "C"), ("C", "K", "N", "P", "Q"))
    )
    assert inner.partial_sums[0] == 0
    assert outer.partial_sums[0] == nest.output_elements * 2
    assert outer.outputs[0] == 2 * inner.outputs[0]
    assert outer.weights[0] < inner.weights[0]


def test_trip_counts_stand_for_all_tile_sizes() -> None:
    assert len(trip_counts(2048)) == 90
    for whole in range(1, 70):
        assert {-(-whole // tile) for tile in range(1, whole + 1)} == set(trip_counts(whole))
        for trips in trip_counts(whole):
            counts = tile_counts(whole, trips)
            assert sum(counts) == whole
            assert max(counts) == -(-whole // trips)
            assert max(counts) - min(counts) <= 1


def test_rows_stationary_needs_room_for_a_row() -> None:
    nest, hardware = convolution(8, 12, 8, 5, 1, 2), load_hardware("eyeriss")
    mapping = Mapping(
        Spatial((("R", 5),), (("P", 12),)),
        ("K", "C", "N", "P", "Q"),
        {"N": 1, "K": 8, "C": 8, "P": 12, "Q": 12},
        "rows",
        True,
    )
    other = replace(mapping, stationary="outputs")
    assert evaluate(nest, hardware, mapping).buffer_bytes < evaluate(nest, hardware, other).buffer_bytes


def test_a_mapping_survives_json() -> None:
    mapping = Mapping(
        Spatial((("K", 4), ("R", 3)), ()),
        ("K", "C", "N", "P", "Q"),
        {"N": 1, "K": 4, "C": 2, "P": 3, "Q": 6},
        "rows",
        False,
    )
    assert mapping_from_fields(mapping.as_fields()) == mapping


def test_the_timeline_starts_with_the_first_load_and_overlaps() -> None:
    nest, hardware = convolution(8, 12, 8), load_hardware("eyeriss")
    mapping = Mapping(
        Spatial((("K", 8),), ()), ("K", "C", "N", "P", "Q"), {"N": 1, "K": 8, "C": 8, "P": 4, "Q": 12}, "weights", True
    )
    events = timeline(nest, hardware, mapping, 10)
    assert len(events) == 3
    assert events[0].load_start == 20
    assert events[1].load_start < events[0].compute_end
    assert all(e.load_end <= e.compute_start <= e.compute_end <= e.store_end for e in events)


def test_energy_of_an_operand_is_eyerisss_equation() -> None:
    assert operand_accesses_j((1, 2, 3, 4), (200, 6, 2, 1), is_partial_sum=False) == 200 + 2 * 6 + 6 * 2 + 24
    assert operand_accesses_j((2, 2, 3, 4), (200, 6, 2, 1), is_partial_sum=True) == 3 * 200 + 4 * 6 + 8 * 2 + 2 * 12 * 3
