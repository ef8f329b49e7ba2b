"""Random small layers and hardware, and every mapping of them, evaluated without any search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import permutations, product

import numpy as np

from mosaic_onnx.npu.costs.energy import movement_j, operations_j, static_j
from mosaic_onnx.npu.costs.evaluate import Objective
from mosaic_onnx.npu.costs.latency import fixed_cycles, overlapped_cycles, serial_cycles, transfers_of
from mosaic_onnx.npu.costs.mapping import ORDERS, TILED, Spatial
from mosaic_onnx.npu.costs.on_chip import allowed_stationary, buffer_bytes, factors_of, steps_of, tile_cycles, work_of
from mosaic_onnx.npu.costs.tiling import Tilings, axis_of
from mosaic_onnx.npu.costs.traffic import dram_traffic, fits, footprint
from mosaic_onnx.npu.hardware.description import DIMENSIONS, Array, Hardware
from mosaic_onnx.npu.hardware.file import load_hardware
from mosaic_onnx.npu.layers.nest import LoopNest

EVERY_ORDER = tuple(permutations(TILED))
CONTIGUOUS = ORDERS


def convolution(
    channels: int = 4, extent: int = 6, outputs: int = 4, taps: int = 3, stride: int = 1, padding: int = 1
) -> LoopNest:
    """A square convolution."""
    size = (extent + 2 * padding - taps) // stride + 1
    return LoopNest(
        "conv",
        "conv",
        1,
        outputs,
        channels,
        size,
        size,
        taps,
        taps,
        extent,
        extent,
        (stride, stride),
        (1, 1),
        (padding, padding),
    )


def random_nest(draw: np.random.Generator, largest: int = 5) -> LoopNest:
    """A small layer of any kind: strides, padding, dilation, groups, batch, residual."""
    kind = draw.choice(["conv", "conv", "depthwise", "gemm"])
    count = {loop: int(draw.integers(1, largest + 1)) for loop in ("N", "K", "C", "P", "Q")}
    if kind == "gemm":
        rows = count["Q"]
        return LoopNest(
            "gemm", "gemm", 1, count["K"], count["C"], 1, rows, 1, 1, 1, rows, repeats=int(draw.integers(1, 3))
        )
    taps, stride = (draw.integers(1, 4, size=2), draw.integers(1, 3, size=2))
    dilation = draw.integers(1, 3, size=2)
    reach = (taps - 1) * dilation
    padding = np.array([draw.integers(0, each + 1) for each in reach // 2])
    outputs = np.array([count["P"], count["Q"]])
    extent = np.maximum((outputs - 1) * stride + reach + 1 - 2 * padding, 1)
    is_depthwise = kind == "depthwise"
    nest = LoopNest(
        "layer",
        "depthwise" if is_depthwise else "conv",
        min(count["N"], 2),
        count["K"],
        1 if is_depthwise else count["C"],
        count["P"],
        count["Q"],
        *(int(each) for each in taps),
        *(int(each) for each in extent),
        stride=(int(stride[0]), int(stride[1])),
        dilation=(int(dilation[0]), int(dilation[1])),
        padding=(int(padding[0]), int(padding[1])),
        repeats=1 if is_depthwise else int(draw.integers(1, 3)),
    )
    return replace(nest, residual_elements=nest.output_elements) if draw.random() < 0.3 else nest


def random_hardware(draw: np.random.Generator) -> Hardware:
    """A small NPU: shared or split buffer, any buffering, some loops to unroll, folding or not."""
    base = load_hardware("eyeriss")
    loops = [tuple(loop for loop in DIMENSIONS if draw.random() < 0.7) or ("K",) for _ in range(2)]
    array = Array(int(draw.integers(1, 7)), int(draw.integers(1, 5)), loops[0], loops[1], bool(draw.random() < 0.7))
    shared = replace(
        base.buffer,
        bytes=int(draw.integers(60, 900)),
        double_buffering=str(draw.choice(["optional", "always", "never"])),
        bytes_per_cycle=float(draw.integers(2, 40)),
    )
    if draw.random() < 0.3:
        parts = [int(each) for each in draw.integers(60, 500, size=3)]
        output_bytes = parts[2] if draw.random() < 0.5 else None
        shared = replace(
            shared, bytes=None, weight_bytes=parts[0], activation_bytes=parts[1], output_bytes=output_bytes
        )
    return replace(
        base,
        array=array,
        buffer=shared,
        dram=replace(
            base.dram, bytes_per_cycle=float(draw.choice([0.5, 2.4, 8.0])), burst_bytes=int(draw.choice([1, 8]))
        ),
        precision=replace(base.precision, partial_sum_bytes=int(draw.choice([2, 4]))),
        register_bytes=int(draw.choice([2, 512])),
        energy=replace(base.energy, static_w=float(draw.choice([0.0, 0.01]))),
    )


def every_spatial(nest: LoopNest, array: Array) -> list[Spatial]:
    """Every unrolling of at most two loops an axis with any integer factors, maximal or not."""

    def axis(size: int, loops: tuple[str, ...]) -> list[tuple[tuple[str, int], ...]]:
        useful = [loop for loop in loops if nest.trip(loop) > 1]
        found: list[tuple[tuple[str, int], ...]] = [()]
        found += [((loop, u),) for loop in useful for u in range(2, min(size, nest.trip(loop)) + 1)]
        if array.fold:
            for one, other in ((a, b) for i, a in enumerate(useful) for b in useful[i + 1 :]):
                for u, v in product(range(2, nest.trip(one) + 1), range(2, nest.trip(other) + 1)):
                    if u * v <= size:
                        found.append(((one, u), (other, v)))
        return found

    rows, columns = axis(array.rows, array.row_unroll), axis(array.columns, array.column_unroll)
    return [Spatial(row, column) for row in rows for column in columns]


def every_tiling(nest: LoopNest) -> Tilings:
    """Every combination of integer tile sizes, one entry for each size (not for each trip count)."""
    axes = {}
    for loop in TILED:
        sizes = np.arange(1, nest.trip(loop) + 1, dtype=np.int64)
        axes[loop] = axis_of(nest, loop, -(-nest.trip(loop) // sizes))
    grid = np.meshgrid(*(np.arange(len(axes[loop].trips)) for loop in TILED), indexing="ij")
    return Tilings({loop: axes[loop].take(index.ravel()) for loop, index in zip(TILED, grid, strict=True)})


def least_by_brute_force(
    nest: LoopNest,
    hardware: Hardware,
    objective: Objective,
    orders: Iterable[tuple[str, ...]] = EVERY_ORDER,
    spatials: list[Spatial] | None = None,
) -> float:
    """The least of all mappings; infinite where none fits the buffer."""
    tilings = every_tiling(nest)
    taken = footprint(nest, hardware, tilings)
    modes = {"optional": (True, False), "always": (True,), "never": (False,)}[hardware.buffer.double_buffering]
    masks = {mode: fits(hardware.buffer, taken, double_buffered=mode) for mode in modes}
    sides = [
        (traffic.total, transfers_of(nest, hardware, tilings, traffic, order))
        for order in orders
        for traffic in (dram_traffic(nest, hardware, tilings, order),)
    ]
    least = np.inf
    for spatial in spatials if spatials is not None else every_spatial(nest, hardware.array):
        factors = factors_of(spatial)
        steps, tiles = steps_of(nest, tilings, factors), tile_cycles(nest, tilings, factors)
        for stationary in allowed_stationary(nest, hardware):
            moved = buffer_bytes(nest, hardware, tilings, steps, factors, stationary)
            work = work_of(nest, hardware, tilings, steps, tiles, moved)
            for dram_bytes, transfers in sides:
                for mode, mask in masks.items():
                    if not mask.any():
                        continue
                    cycles = overlapped_cycles(work, transfers) if mode else serial_cycles(work, transfers)
                    cycles = cycles + fixed_cycles(hardware)
                    joules = operations_j(nest, hardware) + movement_j(hardware, dram_bytes, moved)
                    joules = joules + static_j(hardware, cycles)
                    value = {"latency": cycles, "energy": joules, "edp": cycles * joules}[objective]
                    least = min(least, float(value[mask].min()))
    return least
