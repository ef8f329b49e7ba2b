"""Depth-first groups: their rows, their bytes, and the program that chooses them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import pytest

from mosaic_onnx.npu.hardware.file import load_hardware
from mosaic_onnx.npu.layers.model import layers_of_model
from mosaic_onnx.npu.layers.nest import LoopNest, ModelLayers
from mosaic_onnx.npu.search.dataflow import best_dataflow
from mosaic_onnx.npu.search.depth_first import (
    FusedTiling,
    can_follow,
    fits_fused,
    fused_cost,
    input_rows_of_tiles,
    new_rows,
    rows_of_tiles,
)
from mosaic_onnx.npu.search.fusion import best_fused, fuse
from mosaic_onnx.zoo import build_shapes
from tests.unit.npu.helpers import convolution

EYERISS = load_hardware("eyeriss")
CHAIN = tuple(replace(convolution(8, 24, 8), name=f"conv{n}") for n in range(4))


def test_every_row_is_computed_once_and_none_is_missing() -> None:
    nests = [convolution(4, 20, 4, 5, 1, 2), convolution(4, 20, 4, 3, 2, 1), convolution(4, 10, 4, 3, 1, 1)]
    for count in (1, 2, 3, 5, 10):
        rows = rows_of_tiles(nests, count)
        for nest, spans in zip(nests, rows, strict=True):
            needed = {row for first, end in spans for row in range(first, end)}
            assert sum(new_rows(spans)) == len(needed) <= nest.P
        assert sum(new_rows(input_rows_of_tiles(nests[0], rows[0]))) == 20


def test_a_group_moves_its_ends_and_its_weights_only() -> None:
    nests = CHAIN[:2]
    stay, stream = (fused_cost(nests, EYERISS, FusedTiling(6, stay)) for stay in (True, False))
    ends, weights = 2 * 8 * 24 * 24, 2 * 8 * 8 * 9
    assert stay.dram_bytes == 2 * (ends + weights)
    assert stream.dram_bytes == 2 * (ends + 6 * weights)


def test_more_tiles_need_less_room() -> None:
    nests = CHAIN[:3]
    small = replace(EYERISS, buffer=replace(EYERISS.buffer, bytes=20_000))
    assert not fits_fused(nests, small, FusedTiling(1, True))
    assert fits_fused(nests, small, FusedTiling(24, True))


@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_the_program_is_the_best_of_all_ways_to_cut_a_chain(objective) -> None:
    model = ModelLayers("chain", CHAIN, (), (1, 2, 3, None))
    found = fuse(model, EYERISS, objective)

    @cache
    def value(members: tuple[int, ...]) -> float:
        if len(members) == 1:
            return best_dataflow(CHAIN[members[0]], EYERISS, objective).cost.value(objective)
        group = best_fused([CHAIN[at] for at in members], EYERISS, objective)[0]
        assert group is not None
        return group.cost.cycles if objective == "latency" else group.cost.joules

    least = float("inf")
    for cuts in product((False, True), repeat=3):
        groups, start = [], 0
        for at, cut in enumerate((*cuts, True), start=1):
            if cut:
                groups.append(tuple(range(start, at)))
                start = at
        if max(map(len, groups)) <= 3:
            least = min(least, sum(value(group) for group in groups))
    assert found.fused == pytest.approx(least)
    assert found.fused <= found.alone
    assert found.certificate.gap == 0.0
    assert [at for group in found.groups for at in group.layers] == [0, 1, 2, 3]


def test_fusion_pays_where_dram_binds() -> None:
    starved = replace(EYERISS, dram=replace(EYERISS.dram, bytes_per_cycle=0.25))
    found = fuse(ModelLayers("chain", CHAIN, (), (1, 2, 3, None)), starved, "latency")
    assert found.fused < 0.8 * found.alone
    assert any(group.tiling is not None for group in found.groups)


def test_only_layers_that_hand_rows_on_are_fused() -> None:
    assert can_follow(CHAIN[0], CHAIN[1])
    assert not can_follow(CHAIN[0], replace(CHAIN[1], H=12))
    assert not can_follow(CHAIN[0], replace(CHAIN[1], repeats=2))


def test_a_models_chains_come_from_its_graph() -> None:
    model = layers_of_model(build_shapes("mobilenet_v2_1.0"), EYERISS)
    assert len(model.followers) == len(model.layers)
    for at, follower in enumerate(model.followers):
        if follower is not None:
            first, second = model.layers[at], model.layers[follower]
            assert follower > at
            if isinstance(first, LoopNest) and isinstance(second, LoopNest) and second.kind != "gemm":
                assert can_follow(first, second)
    assert sum(follower is not None for follower in model.followers) > 30
