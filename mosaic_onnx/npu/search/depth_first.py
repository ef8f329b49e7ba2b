"""Layers run depth-first: tiles of output rows go through two or three layers without leaving the buffer.

Each row of every layer is computed once: rows that the next tile needs again stay in the buffer. The weights of the
group either stay there too, or each layer's are loaded again for every tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from mosaic_onnx.npu.costs.energy import movement_j, operations_j, static_j
from mosaic_onnx.npu.costs.latency import fixed_cycles
from mosaic_onnx.npu.costs.on_chip import allowed_stationary, buffer_bytes, steps_of
from mosaic_onnx.npu.costs.tiling import Floats, Ints, tile_counts, tilings_of
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest
from mosaic_onnx.npu.search.spatial import factor_arrays


@dataclass(frozen=True)
class FusedTiling:
    """The execution of a group of fused layers.

    Attributes:
        tile_count: tiles of the last layer's rows.
        weights_stay: all weights are loaded once; else each layer's for every tile.
    """

    tile_count: int
    weights_stay: bool


@dataclass(frozen=True)
class FusedCost:
    """The costs of a group, with one launch.

    Attributes:
        cycles: at the NPU's clock.
        joules: dynamic and static.
        dram_bytes: input, weights, residuals and the last layer's output.
    """

    cycles: float
    joules: float
    dram_bytes: float


def can_follow(first: LoopNest, second: LoopNest) -> bool:
    """Return whether a layer's output rows are the next one's input rows."""
    channels = second.K if second.is_depthwise else second.C
    same = (second.H, second.W, channels, second.N) == (first.P, first.Q, first.K, first.N)
    return same and first.repeats == second.repeats == 1 and "gemm" not in (first.kind, second.kind)


def rows_of_tiles(nests: Sequence[LoopNest], tile_count: int) -> list[list[tuple[int, int]]]:
    """Return for each layer and tile the output rows [first, end) that the tile's final rows need, clipped."""
    end, last = 0, []
    for count in tile_counts(nests[-1].P, tile_count):
        last.append((end, end + count))
        end += count
    found = [last]
    for nest in reversed(nests[1:]):
        reach = (nest.R - 1) * nest.dilation[0]
        found.append(
            [
                (
                    max(0, first * nest.stride[0] - nest.padding[0]),
                    min(nest.H, (end - 1) * nest.stride[0] - nest.padding[0] + reach + 1),
                )
                for first, end in found[-1]
            ]
        )
    return found[::-1]


def input_rows_of_tiles(nest: LoopNest, rows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the input rows [first, end) of the first layer for each tile, clipped."""
    reach, stride, padding = (nest.R - 1) * nest.dilation[0], nest.stride[0], nest.padding[0]
    return [
        (max(0, first * stride - padding), min(nest.H, (end - 1) * stride - padding + reach + 1)) for first, end in rows
    ]


def fused_footprint(nests: Sequence[LoopNest], hardware: Hardware, tiling: FusedTiling) -> tuple[int, int, int]:
    """Return the bytes of weights, of input and intermediate rows, and of sums that a group holds at once.

    Input rows are there twice (the next tile's load overlaps), streamed weights too; sums are those of the layer whose
    tile is largest.
    """
    size = hardware.precision
    rows = rows_of_tiles(nests, tiling.tile_count)
    channels = nests[0].K if nests[0].is_depthwise else nests[0].C
    largest_input = max(end - first for first, end in input_rows_of_tiles(nests[0], rows[0]))
    held = 2 * largest_input * nests[0].N * nests[0].W * channels * size.activation_bytes
    for nest, spans in zip(nests[:-1], rows[:-1], strict=True):
        held += max(end - first for first, end in spans) * nest.N * nest.Q * nest.K * size.activation_bytes
    sums = max(
        max(new_rows(spans)) * nest.N * nest.Q * nest.K * size.partial_sum_bytes
        for nest, spans in zip(nests, rows, strict=True)
    )
    weights = [nest.weight_elements * size.weight_bytes for nest in nests]
    return (sum(weights) if tiling.weights_stay else 2 * max(weights)), held, sums


def fits_fused(nests: Sequence[LoopNest], hardware: Hardware, tiling: FusedTiling) -> bool:
    """Return whether a group's tiles fit the buffer, each part of a split one by itself."""
    weights, held, sums = fused_footprint(nests, hardware, tiling)
    buffer = hardware.buffer
    if buffer.bytes is not None:
        return weights + held + sums <= buffer.bytes
    room = buffer.activation_bytes or 0
    if weights > (buffer.weight_bytes or 0):
        return False
    return held + sums <= room if buffer.output_bytes is None else held <= room and sums <= buffer.output_bytes


def new_rows(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return the rows that each tile adds to those computed before."""
    done, added = 0, []
    for first, end in spans:
        added.append(max(0, end - max(first, done)))
        done = max(done, end)
    return added


def fused_cost(
    nests: Sequence[LoopNest], hardware: Hardware, tiling: FusedTiling, *, least_energy: bool = False
) -> FusedCost:
    """Return the cost of a group whose tiles fit.

    Latency is ``max(fill + work + drain, DRAM) + DRAM latency + launch``: the layers' work one after the other, tile by
    tile, the next tile's rows and weights loaded meanwhile.

    Args:
        nests: the layers; each ``can_follow`` the one before.
        hardware: the NPU.
        tiling: rows and weights.
        least_energy: unroll each layer for the fewest bytes from the buffer; else for the least time.
    """
    size, bandwidth = hardware.precision, hardware.dram.bytes_per_cycle
    rows = rows_of_tiles(nests, tiling.tile_count)
    parts = [
        _work(nest, hardware, new_rows(spans), least_energy=least_energy)
        for nest, spans in zip(nests, rows, strict=True)
    ]
    work, array_bytes = sum(part[0] for part in parts), sum(part[1] for part in parts)
    weights = [nest.weight_elements * size.weight_bytes for nest in nests]
    inputs = input_rows_of_tiles(nests[0], rows[0])
    channels = nests[0].K if nests[0].is_depthwise else nests[0].C
    row_bytes = nests[0].N * nests[0].W * channels * size.activation_bytes
    residual = sum(nest.residual_elements for nest in nests) * size.activation_bytes
    outputs = nests[-1].output_elements * size.activation_bytes
    times = 1 if tiling.weights_stay else tiling.tile_count
    moved = float(sum(new_rows(inputs)) * row_bytes + sum(weights) * times + residual + outputs)
    fill = (inputs[0][1] - inputs[0][0]) * row_bytes + weights[0]
    drain = outputs / nests[-1].P * tile_counts(nests[-1].P, tiling.tile_count)[-1]
    cycles = max((fill + drain) / bandwidth + work, moved / bandwidth) + fixed_cycles(hardware)
    joules = sum(operations_j(nest, hardware) for nest in nests) + movement_j(hardware, moved, array_bytes)
    return FusedCost(cycles, joules + static_j(hardware, cycles), moved)


def _work(nest: LoopNest, hardware: Hardware, added: Sequence[int], *, least_energy: bool) -> tuple[float, float]:
    """Return cycles and bytes between buffer and array of one layer in its best unrolling, all channels at once.

    Args:
        nest: the layer.
        hardware: the NPU.
        added: rows that each tile computes.
        least_energy: prefer few bytes to few cycles.
    """
    whole = tilings_of(nest, {"N": nest.N, "K": nest.K, "C": nest.C, "P": ceil(nest.P / len(added)), "Q": nest.Q})
    factors = factor_arrays(nest, hardware.array)
    steps = steps_of(nest, whole, factors)
    rows: Ints = np.zeros_like(factors["P"])
    for count in set(added):
        rows = rows + added.count(count) * -(-count // factors["P"])
    cycles: Floats = np.asarray(steps.cycles / steps.tiled["P"] * rows, dtype=np.float64)
    best = (np.inf, np.inf)
    for stationary in allowed_stationary(nest, hardware):
        moved = buffer_bytes(nest, hardware, whole, steps, factors, stationary) * np.ones(len(rows))
        time = np.maximum(cycles, moved / hardware.buffer.bytes_per_cycle)
        keys = (time, moved) if least_energy else (moved, time)  # the last key sorts first
        at = int(np.lexsort(keys)[0])
        found = (float(time[at]), float(moved[at]))
        best = min(best, found, key=lambda pair: pair[::-1] if least_energy else pair)
    return best
