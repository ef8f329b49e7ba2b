"""Steps of the array and bytes between the buffer and the array, for many tilings at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from mosaic_onnx.npu.costs.latency import Work
from mosaic_onnx.npu.costs.mapping import TILED, Spatial, Stationary
from mosaic_onnx.npu.costs.tiling import Floats, Ints, Tilings, visit_count
from mosaic_onnx.npu.costs.traffic import input_elements
from mosaic_onnx.npu.hardware.description import DIMENSIONS, Hardware
from mosaic_onnx.npu.layers.nest import LoopNest

Factors = Mapping[str, int] | Mapping[str, Ints]
"""Loop → iterations that run at once on the array, for every loop; with one tiling, ``[M]`` unrollings at once."""


def factors_of(spatial: Spatial) -> Factors:
    """Return the unrolling factor of every loop."""
    return {loop: spatial.factor(loop) for loop in DIMENSIONS}


@dataclass(frozen=True)
class Steps:
    """Steps of the array over the whole layer.

    Attributes:
        tiled: ``[M]`` steps of each tiled loop, each tile rounded up.
        filter_rows: steps of R, which is never tiled.
        filter_columns: steps of S.
    """

    tiled: Mapping[str, Ints]
    filter_rows: int | Ints
    filter_columns: int | Ints

    @property
    def cycles(self) -> Ints:
        """``[M]`` steps of one repeat: the product over all loops, one cycle each."""
        product = self.filter_rows * self.filter_columns * np.ones_like(self.tiled["N"])
        for loop in TILED:
            product = product * self.tiled[loop]
        return product


def steps_of(nest: LoopNest, tilings: Tilings, factors: Factors) -> Steps:
    """Return the steps of the array: trip count by trip count, each rounded up."""
    tiled = {loop: tilings.axes[loop].steps(factors[loop]) for loop in TILED}
    return Steps(tiled, -(-nest.R // factors["R"]), -(-nest.S // factors["S"]))


@dataclass(frozen=True)
class TileCycles:
    """``[M]`` cycles of the array for single tiles.

    Attributes:
        first: for the first and largest tile.
        last: for the last and smallest tile.
        shrinks: for each loop of ``TILED``, the factor by which its last tile takes less than its first.
    """

    first: Floats
    last: Floats
    shrinks: tuple[Floats, ...]


def tile_cycles(nest: LoopNest, tilings: Tilings, factors: Factors) -> TileCycles:
    """Return the array's cycles for single tiles."""
    first = np.full(tilings.trips("N").shape, float(ceil(nest.R / factors["R"]) * ceil(nest.S / factors["S"])))
    last, shrinks = first, []
    for loop in TILED:
        large, small = -(-tilings.tile(loop) // factors[loop]), -(-tilings.least(loop) // factors[loop])
        first, last = first * large, last * small
        shrinks.append(small / large)
    return TileCycles(first, last, tuple(shrinks))


def work_of(
    nest: LoopNest,
    hardware: Hardware,
    tilings: Tilings,
    steps: Steps,
    tiles: TileCycles,
    array_bytes: Floats,
) -> Work:
    """Return the cycles of array or buffer, whichever is more; the buffer's are spread evenly over the tiles.

    Args:
        nest: the layer.
        hardware: the NPU.
        tilings: ``M`` tilings.
        steps: of the array over the layer.
        tiles: of the array.
        array_bytes: ``[M]`` between buffer and array over the layer.
    """
    cycles = array_bytes / hardware.buffer.bytes_per_cycle
    each = cycles / visit_count(nest, tilings)
    return Work(
        all=np.maximum(steps.cycles * float(nest.repeats), cycles),
        first=np.maximum(tiles.first, each),
        last=np.maximum(tiles.last, each),
        first_array=tiles.first,
        each_buffer=each,
        shrinks=tiles.shrinks,
    )


def allowed_stationary(nest: LoopNest, hardware: Hardware) -> tuple[Stationary, ...]:
    """Return what the register files can keep: one element of any operand, and a row where the file has room for it."""
    size = hardware.precision
    row_bytes = nest.S * (size.weight_bytes + size.activation_bytes) + size.partial_sum_bytes
    single: tuple[Stationary, ...] = ("weights", "inputs", "outputs")
    return (*single, "rows") if row_bytes <= hardware.register_bytes else single


def buffer_bytes(
    nest: LoopNest, hardware: Hardware, tilings: Tilings, steps: Steps, factors: Factors, stationary: Stationary
) -> Floats:
    """Return ``[M]`` bytes between the buffer and the array over the whole layer.

    An operand that stays in the register files passes once a tile; the others pass at every step, once for all PEs
    that need the same element at the same time (multicast).
    """
    size = hardware.precision
    weights = nest.weight_elements * _weight_reads(tilings, steps, stationary) * float(size.weight_bytes)
    inputs = _input_reads(nest, tilings, steps, factors, stationary) * float(size.activation_bytes)
    outputs = nest.output_elements * _output_passes(tilings, steps, stationary) * float(size.partial_sum_bytes)
    residual = float(nest.residual_elements * size.activation_bytes)
    return weights + inputs + outputs + residual


def _weight_reads(tilings: Tilings, steps: Steps, stationary: Stationary) -> Ints:
    """Return ``[M]`` how often each weight is read."""
    if stationary == "weights":
        return tilings.trips("N") * tilings.trips("P") * tilings.trips("Q")
    columns = tilings.trips("Q") if stationary == "rows" else steps.tiled["Q"]
    return steps.tiled["N"] * steps.tiled["P"] * columns


def _input_reads(nest: LoopNest, tilings: Tilings, steps: Steps, factors: Factors, stationary: Stationary) -> Floats:
    """Return ``[M]`` input elements read, in all repeats."""
    again = np.ones_like(tilings.trips("K"))
    if stationary == "inputs":
        if not nest.is_depthwise:
            again = tilings.trips("K")
        return (input_elements(nest, tilings) * again).astype(np.float64)
    if not nest.is_depthwise:
        again = steps.tiled["K"]
    channels = nest.K if nest.is_depthwise else nest.C
    rows = _window_reads(nest.P, nest.R, factors["R"], nest.stride[0], nest.dilation[0], steps.tiled["P"])
    if stationary == "rows":
        columns = tilings.axes["Q"].total_span
    else:
        columns = _window_reads(nest.Q, nest.S, factors["S"], nest.stride[1], nest.dilation[1], steps.tiled["Q"])
    return (nest.repeats * nest.N * channels * rows * columns * again).astype(np.float64)


def _window_reads(outputs: int, taps: int, unrolled: int | Ints, stride: int, dilation: int, steps: Ints) -> Ints:
    """Return ``[M]`` input rows read for all outputs and taps along one axis.

    The taps run in groups of ``unrolled``. Within a step, neighbouring outputs share rows of a group: a run of p
    outputs reads ``p·stride + (group - stride)`` rows instead of ``p·group``; with dilation nothing is shared.
    """
    if dilation != 1:
        return np.full_like(steps, outputs * taps)
    reads = np.zeros_like(steps)
    for group, count in ((unrolled, taps // unrolled), (taps % unrolled, 1)):
        shared = outputs * stride + steps * np.maximum(group - stride, 0)
        reads = reads + count * np.minimum(outputs * group, shared)
    return reads


def _output_passes(tilings: Tilings, steps: Steps, stationary: Stationary) -> Ints:
    """Return ``[M]`` how often each output passes: written at the end of each run of sums, read before all but one."""
    if stationary == "outputs":
        return 2 * tilings.trips("C") - 1
    runs = steps.tiled["C"] * steps.filter_rows
    return 2 * (runs if stationary == "rows" else runs * steps.filter_columns) - 1
