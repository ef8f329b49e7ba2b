"""Tiles of the buffer: for many tilings at once, trip counts, sizes and how many input rows they span.

A tiling is decided by its trip counts: a loop of D iterations in n trips has tiles of ⌈D/n⌉ and then ⌊D/n⌋ iterations,
so no tile is larger than it must be and none is a ragged remainder. A tile size t stands for n = ⌈D/t⌉ trips; the D
sizes give about 2√D different trip counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mosaic_onnx.npu.costs.mapping import TILED
from mosaic_onnx.npu.layers.nest import LoopNest, touched

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """Candidate tiles of one loop.

    Attributes:
        trips: ``[A]`` tiles.
        tile: ``[A]`` iterations of the first and largest tile.
        least: ``[A]`` iterations of the last and smallest tile, at most one fewer.
        large_count: ``[A]`` tiles of the larger size.
        span: ``[A]`` input rows (columns) of the largest tile; equals ``tile`` where the loop has no halo.
        first_span: ``[A]`` input rows of the first tile, the padding left out.
        least_span: ``[A]`` input rows of the tile that spans fewest.
        total_span: ``[A]`` input rows of all tiles together, halos counted each time, padding left out.
    """

    trips: Ints
    tile: Ints
    least: Ints
    large_count: Ints
    span: Ints
    first_span: Ints
    least_span: Ints
    total_span: Ints

    def take(self, index: Ints) -> Axis:
        """Return the candidates at the given places, an entry for each."""
        return Axis(*(getattr(self, each.name)[index] for each in fields(self)))

    def steps(self, factor: int | Ints) -> Ints:
        """Return ``[A]`` steps of all tiles where ``factor`` iterations run at once, each tile rounded up."""
        large, small = -(-self.tile // factor), -(-self.least // factor)
        return self.large_count * large + (self.trips - self.large_count) * small


@dataclass(frozen=True)
class Tilings:
    """``M`` tilings of a nest: one ``Axis`` of ``M`` entries for each tiled loop."""

    axes: Mapping[str, Axis]

    def tile(self, loop: str) -> Ints:
        """Return ``[M]`` iterations of the loop in the largest tile."""
        return self.axes[loop].tile

    def least(self, loop: str) -> Ints:
        """Return ``[M]`` iterations of the loop in the last tile."""
        return self.axes[loop].least

    def trips(self, loop: str) -> Ints:
        """Return ``[M]`` tiles of the loop."""
        return self.axes[loop].trips

    def take(self, index: Ints) -> Tilings:
        """Return the tilings at the given places."""
        return Tilings({loop: axis.take(index) for loop, axis in self.axes.items()})


def tile_counts(whole: int, trips: int) -> list[int]:
    """Return the iterations of each tile of a loop."""
    least, large_count = divmod(whole, trips)
    return [least + 1] * large_count + [least] * (trips - large_count)


def axis_of(nest: LoopNest, loop: str, trips: Ints) -> Axis:
    """Return what trip counts mean for one loop.

    Args:
        nest: the layer.
        loop: a tiled loop.
        trips: ``[A]`` trip counts, at most the whole loop.
    """
    whole = nest.trip(loop)
    least, large_count = whole // trips, whole % trips
    tile = -(-whole // trips)
    if loop not in ("P", "Q"):
        return Axis(trips, tile, least, large_count, tile, tile, least, np.full_like(trips, whole))
    halo = halo_of(nest, loop)
    spans = np.array([_spans(whole, int(count), *halo) for count in trips], dtype=np.int64).reshape(-1, 4)
    return Axis(trips, tile, least, large_count, *spans.T)


def halo_of(nest: LoopNest, loop: str) -> tuple[int, int, int, int, int]:
    """Return filter taps, stride, dilation, leading padding and input size along the rows (P) or columns (Q)."""
    at = 0 if loop == "P" else 1
    taps, extent = (nest.R, nest.H) if loop == "P" else (nest.S, nest.W)
    return taps, nest.stride[at], nest.dilation[at], nest.padding[at], extent


@lru_cache(maxsize=2**16)
def _spans(
    whole: int, trips: int, taps: int, stride: int, dilation: int, padding: int, extent: int
) -> tuple[int, int, int, int]:
    """Return the input rows of the largest tile, of the first, of the smallest, and of all together."""
    spans = tile_spans(whole, trips, taps, stride, dilation, padding, extent)
    return max(spans), spans[0], min(spans), sum(spans)


def tile_spans(whole: int, trips: int, taps: int, stride: int, dilation: int, padding: int, extent: int) -> list[int]:
    """Return the input rows of each tile: ``(p-1)·stride + (taps-1)·dilation + 1``, clipped to the image."""
    start, spans = 0, []
    for count in tile_counts(whole, trips):
        spans.append(touched(count, taps, stride, dilation, padding - start * stride, extent))
        start += count
    return spans


@lru_cache(maxsize=4096)
def trip_counts(whole: int) -> tuple[int, ...]:
    """Return the different ⌈D/t⌉ over all tile sizes t, smallest first: O(2√D) of them."""
    return tuple(sorted({-(-whole // tile) for tile in range(1, whole + 1)}))


def candidate_tilings(nest: LoopNest) -> Tilings:
    """Return every tiling: the Cartesian product of the trip counts of N, K, C, P and Q."""
    axes = {loop: axis_of(nest, loop, np.array(trip_counts(nest.trip(loop)), dtype=np.int64)) for loop in TILED}
    grid = np.meshgrid(*(np.arange(len(axes[loop].trips)) for loop in TILED), indexing="ij")
    return Tilings({loop: axes[loop].take(index.ravel()) for loop, index in zip(TILED, grid, strict=True)})


def visit_count(nest: LoopNest, tilings: Tilings) -> Ints:
    """Return ``[M]`` visits of tiles over the whole layer."""
    product = np.full_like(tilings.trips("N"), nest.repeats)
    for loop in TILED:
        product = product * tilings.trips(loop)
    return product


def tilings_of(nest: LoopNest, tiles: Mapping[str, int]) -> Tilings:
    """Return one tiling by its tile sizes, as arrays of one entry."""
    return Tilings(
        {loop: axis_of(nest, loop, np.array([-(-nest.trip(loop) // tiles[loop])], dtype=np.int64)) for loop in TILED}
    )
