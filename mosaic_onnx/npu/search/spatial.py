"""The ways to unroll loops over the array: every maximal choice, with folding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import combinations

import numpy as np

from mosaic_onnx.npu.costs.mapping import Spatial
from mosaic_onnx.npu.costs.tiling import Ints
from mosaic_onnx.npu.hardware.description import DIMENSIONS, Array
from mosaic_onnx.npu.layers.nest import LoopNest

AxisChoice = tuple[tuple[str, int], ...]
"""(loop, factor) pairs of one axis of the array, in the order of ``DIMENSIONS``."""


def axis_choices(size: int, loops: Iterable[str], trips: Mapping[str, int], *, fold: bool) -> tuple[AxisChoice, ...]:
    """Return the maximal ways to lay one or two loops on an axis.

    No cost grows with a factor, so a choice that another exceeds in every factor is left out.

    Args:
        size: PEs along the axis.
        loops: that may be unrolled there.
        trips: the whole trip count of each loop.
        fold: whether two loops may share the axis.
    """
    useful = [loop for loop in DIMENSIONS if loop in set(loops) and trips[loop] > 1]
    choices: dict[AxisChoice, None] = {}
    for loop in useful:
        choices[((loop, min(size, trips[loop])),)] = None
    if fold:
        for first, second in combinations(useful, 2):
            for one, other in _maximal_pairs(size, trips[first], trips[second]):
                choices[_without_ones((first, one), (second, other))] = None
    return tuple(choice for choice in choices if not _exceeded(choice, choices)) or ((),)


def _maximal_pairs(size: int, first: int, second: int) -> Iterable[tuple[int, int]]:
    """Return pairs of factors with a product of at most ``size``, neither of which can grow."""
    best_other = 0
    for one in range(min(size, first), 0, -1):
        other = min(second, size // one)
        if other > best_other:
            best_other = other
            yield one, other


def _without_ones(*pairs: tuple[str, int]) -> AxisChoice:
    return tuple(pair for pair in pairs if pair[1] > 1)


def _exceeded(choice: AxisChoice, others: Iterable[AxisChoice]) -> bool:
    """Return whether another choice has every factor of this one, or more."""
    for other in others:
        factors = dict(other)
        if other != choice and all(factors.get(loop, 1) >= factor for loop, factor in choice):
            return True
    return False


def spatial_choices(nest: LoopNest, array: Array) -> tuple[Spatial, ...]:
    """Return the unrollings of a nest worth looking at: combinations of both axes, equal products once."""
    trips = tuple(nest.trip(loop) for loop in DIMENSIONS)
    return _combined(trips, array)


def factor_arrays(nest: LoopNest, array: Array) -> Mapping[str, Ints]:
    """Return the factors of all ``spatial_choices``: loop → ``[B]`` iterations that run at once."""
    return _factors(tuple(nest.trip(loop) for loop in DIMENSIONS), array)


@lru_cache(maxsize=256)
def _factors(trips: tuple[int, ...], array: Array) -> Mapping[str, Ints]:
    every = _combined(trips, array)
    return {loop: np.array([each.factor(loop) for each in every], dtype=np.int64) for loop in DIMENSIONS}


@lru_cache(maxsize=256)
def _combined(trips: tuple[int, ...], array: Array) -> tuple[Spatial, ...]:
    table = dict(zip(DIMENSIONS, trips, strict=True))
    rows = axis_choices(array.rows, array.row_unroll, table, fold=array.fold)
    columns = axis_choices(array.columns, array.column_unroll, table, fold=array.fold)
    seen: dict[tuple[int, ...], Spatial] = {}
    for row in rows:
        for column in columns:
            spatial = Spatial(row, column)
            factors = tuple(min(spatial.factor(loop), table[loop]) for loop in DIMENSIONS)
            seen.setdefault(factors, spatial)
    return tuple(seen.values())
