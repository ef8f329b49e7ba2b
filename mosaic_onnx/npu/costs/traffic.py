"""Bytes between DRAM and the buffer, and what a tile needs of the buffer: exact, with halos and ragged edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mosaic_onnx.npu.costs.mapping import PIXELS
from mosaic_onnx.npu.costs.tiling import Floats, Ints, Tilings
from mosaic_onnx.npu.hardware.description import Buffer, Hardware, Operand
from mosaic_onnx.npu.layers.nest import LoopNest


@dataclass(frozen=True)
class DramTraffic:
    """``[M]`` bytes of a whole layer between DRAM and the buffer.

    Attributes:
        weights: read.
        inputs: read, halos each time.
        outputs: written once a visit; all but the last are partial sums.
        partial_sums: read back.
        residual: read for a fused addition.
    """

    weights: Floats
    inputs: Floats
    outputs: Floats
    partial_sums: Floats
    residual: float

    @property
    def loads(self) -> Floats:
        """Everything read."""
        return self.weights + self.inputs + self.partial_sums + self.residual

    @property
    def total(self) -> Floats:
        """Everything read and written."""
        return self.loads + self.outputs


@dataclass(frozen=True)
class Footprint:
    """``[M]`` bytes that one tile takes in the buffer; outputs as partial sums."""

    weights: Ints
    inputs: Ints
    outputs: Ints


def relevant_loops(nest: LoopNest, operand: Operand) -> frozenset[str]:
    """Return the tile loops that index an operand."""
    loops = {
        "weights": {"K", "C"},
        "inputs": {*PIXELS, "K" if nest.is_depthwise else "C"},
        "outputs": {*PIXELS, "K"},
    }
    return frozenset(loops[operand])


def refetches(nest: LoopNest, tilings: Tilings, order: tuple[str, ...], operand: Operand) -> Ints:
    """Return ``[M]`` how many times an operand passes as a whole.

    An operand's tile changes with every iteration of any loop at or outside its innermost relevant loop (loops of one
    trip do not count), so it passes once for each iteration of the irrelevant loops outside that one.
    """
    relevant = relevant_loops(nest, operand)
    times = np.ones_like(tilings.trips(order[0]))
    changes = np.zeros(times.shape, dtype=bool)
    for loop in reversed(order):
        trips = tilings.trips(loop)
        if loop in relevant:
            changes |= trips > 1
        else:
            times = times * np.where(changes, trips, 1)
    return times


def dram_traffic(nest: LoopNest, hardware: Hardware, tilings: Tilings, order: tuple[str, ...]) -> DramTraffic:
    """Return the bytes of a layer for ``M`` tilings in one order of the tile loops."""
    size = hardware.precision
    weights = nest.weight_elements * size.weight_bytes * refetches(nest, tilings, order, "weights")
    inputs = input_elements(nest, tilings) * size.activation_bytes * refetches(nest, tilings, order, "inputs")
    visits = refetches(nest, tilings, order, "outputs")
    partial = nest.output_elements * size.partial_sum_bytes * (visits - 1)
    outputs = nest.output_elements * size.activation_bytes + partial
    residual = float(nest.residual_elements * size.activation_bytes)
    return DramTraffic(
        weights.astype(np.float64),
        inputs.astype(np.float64),
        outputs.astype(np.float64),
        partial.astype(np.float64),
        residual,
    )


def input_elements(nest: LoopNest, tilings: Tilings) -> Ints:
    """Return ``[M]`` elements of all input tiles together, halos counted each time."""
    channels = nest.K if nest.is_depthwise else nest.C
    rows, columns = tilings.axes["P"].total_span, tilings.axes["Q"].total_span
    return cast(Ints, nest.repeats * nest.N * channels * rows * columns)


def footprint(nest: LoopNest, hardware: Hardware, tilings: Tilings) -> Footprint:
    """Return what the largest tile takes in the buffer."""
    size = hardware.precision
    images, outputs, inputs = tilings.tile("N"), tilings.tile("K"), tilings.tile("C")
    channels = outputs if nest.is_depthwise else inputs
    window = tilings.axes["P"].span * tilings.axes["Q"].span
    pixels = tilings.tile("P") * tilings.tile("Q")
    return Footprint(
        weights=outputs * inputs * (nest.R * nest.S * size.weight_bytes),
        inputs=images * channels * window * size.activation_bytes,
        outputs=images * outputs * pixels * size.partial_sum_bytes,
    )


def fits(buffer: Buffer, taken: Footprint, *, double_buffered: bool) -> NDArray[np.bool_]:
    """Return ``[M]`` whether a tile fits: ``2·(weights + inputs) + outputs`` where double-buffered.

    Of a split buffer, each part by itself.
    """
    copies = 2 if double_buffered else 1
    weights, inputs, outputs = copies * taken.weights, copies * taken.inputs, taken.outputs
    if buffer.bytes is not None:
        return weights + inputs + outputs <= buffer.bytes
    room = weights <= cast(int, buffer.weight_bytes)
    if buffer.output_bytes is None:
        return room & (inputs + outputs <= cast(int, buffer.activation_bytes))
    return room & (inputs <= cast(int, buffer.activation_bytes)) & (outputs <= buffer.output_bytes)


def compulsory_bytes(nest: LoopNest, hardware: Hardware) -> int:
    """Return the bytes that any mapping moves: weights and touched inputs read once, outputs written once."""
    size = hardware.precision
    read = nest.weight_elements * size.weight_bytes + (nest.input_elements + nest.residual_elements) * (
        size.activation_bytes
    )
    return read + nest.output_elements * size.activation_bytes


def first_load(nest: LoopNest, hardware: Hardware, tilings: Tilings) -> Floats:
    """Return ``[M]`` bytes of the first weight tile and the first input tile: the array waits for both."""
    size = hardware.precision
    channels = tilings.tile("K") if nest.is_depthwise else tilings.tile("C")
    window = tilings.axes["P"].first_span * tilings.axes["Q"].first_span
    weights = tilings.tile("K") * tilings.tile("C") * (nest.R * nest.S * size.weight_bytes)
    inputs = tilings.tile("N") * channels * window * size.activation_bytes
    return np.asarray(weights + inputs, dtype=np.float64)


def last_store(nest: LoopNest, hardware: Hardware, tilings: Tilings) -> Floats:
    """Return ``[M]`` bytes of the last output tile, which leaves when all else is done."""
    elements = np.ones_like(tilings.trips("N"))
    for loop in (*PIXELS, "K"):
        elements = elements * tilings.least(loop)
    return np.asarray(elements * float(hardware.precision.activation_bytes))
