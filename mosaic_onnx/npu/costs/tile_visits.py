"""Loads and stores of each visit of a tile, in the order of a mapping."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from mosaic_onnx.npu.costs.mapping import TILED, Mapping
from mosaic_onnx.npu.costs.on_chip import factors_of
from mosaic_onnx.npu.costs.tiling import Floats, halo_of, tile_counts, tile_spans
from mosaic_onnx.npu.costs.traffic import relevant_loops
from mosaic_onnx.npu.hardware.description import Hardware, Operand
from mosaic_onnx.npu.layers.nest import LoopNest


@dataclass(frozen=True)
class Visits:
    """``[V]`` visits of one repeat of a nest: bytes loaded before and stored after each, steps of the array."""

    load_bytes: Floats
    store_bytes: Floats
    array_cycles: Floats


def visits_of(nest: LoopNest, hardware: Hardware, mapping: Mapping) -> Visits:
    """Return the visits in order.

    An operand's tile is loaded where it differs from the visit before. An output tile leaves where the next visit works
    on another: as partial sums where more input channels follow, which come back with their next visit.
    """
    grid = _Grid(nest, mapping)
    size = hardware.precision
    channel = "K" if nest.is_depthwise else "C"
    weights = grid.count("K") * grid.count("C") * (nest.R * nest.S * size.weight_bytes)
    inputs = grid.count("N") * grid.count(channel) * grid.span("P") * grid.span("Q") * size.activation_bytes
    outputs = grid.count("N") * grid.count("K") * grid.count("P") * grid.count("Q") * np.ones(grid.shape)
    sums_before, is_last = grid.index("C") > 0, grid.index("C") == grid.trips("C") - 1
    arrives = grid.changes(nest, "outputs")
    loads = weights * grid.changes(nest, "weights") + inputs * grid.changes(nest, "inputs")
    loads = loads + outputs * (arrives & sums_before) * size.partial_sum_bytes
    if nest.residual_elements:
        each = nest.residual_elements / nest.output_elements * size.activation_bytes
        loads = loads + outputs * is_last * each
    leaves = np.concatenate([arrives.ravel()[1:], [True]])
    stores = (outputs * np.where(is_last, size.activation_bytes, size.partial_sum_bytes)).ravel() * leaves
    return Visits(np.broadcast_to(loads, grid.shape).ravel(), stores, _array_cycles(nest, mapping, grid))


def _array_cycles(nest: LoopNest, mapping: Mapping, grid: _Grid) -> Floats:
    """Return ``[V]`` steps of the array in each visit."""
    factors = factors_of(mapping.spatial)
    steps = np.full(grid.shape, float(ceil(nest.R / factors["R"]) * ceil(nest.S / factors["S"])))
    for loop in TILED:
        steps = steps * -(-grid.count(loop) // factors[loop])
    return steps.ravel()


class _Grid:
    """The five tile loops as axes of arrays that broadcast, the outermost loop first."""

    def __init__(self, nest: LoopNest, mapping: Mapping) -> None:
        self._order = mapping.order
        self._pieces = {loop: _pieces(nest, loop, mapping.tiles[loop]) for loop in TILED}
        self.shape = tuple(len(self._pieces[loop]) for loop in self._order)

    def trips(self, loop: str) -> int:
        """Return the tiles of a loop."""
        return len(self._pieces[loop])

    def index(self, loop: str) -> NDArray[np.int64]:
        """Return the loop's index along its axis."""
        return self._along(loop, np.arange(self.trips(loop), dtype=np.int64))

    def count(self, loop: str) -> NDArray[np.int64]:
        """Return the iterations of each tile along the loop's axis."""
        return self._along(loop, self._pieces[loop][:, 0])

    def span(self, loop: str) -> NDArray[np.int64]:
        """Return the input rows of each tile along the loop's axis."""
        return self._along(loop, self._pieces[loop][:, 1])

    def changes(self, nest: LoopNest, operand: Operand) -> NDArray[np.bool_]:
        """Return where an operand's tile differs from the visit before; the first visit counts.

        A loop's index changes exactly where all loops inside it stand at their beginning.
        """
        relevant = relevant_loops(nest, operand)
        found = np.zeros(self.shape, dtype=bool)
        at_beginning = np.ones(self.shape, dtype=bool)
        for loop in reversed(self._order):
            if loop in relevant and self.trips(loop) > 1:
                found |= at_beginning
            at_beginning &= self.index(loop) == 0
        return found | at_beginning

    def _along(self, loop: str, values: NDArray[np.int64]) -> NDArray[np.int64]:
        place = self._order.index(loop)
        return values.reshape([-1 if axis == place else 1 for axis in range(len(self._order))])


def _pieces(nest: LoopNest, loop: str, tile: int) -> NDArray[np.int64]:
    """Return ``[T, 2]`` iterations and input rows of each tile of a loop."""
    whole = nest.trip(loop)
    trips = -(-whole // tile)
    counts = tile_counts(whole, trips)
    spans = tile_spans(whole, trips, *halo_of(nest, loop)) if loop in ("P", "Q") else counts
    return np.array(list(zip(counts, spans, strict=True)), dtype=np.int64)
