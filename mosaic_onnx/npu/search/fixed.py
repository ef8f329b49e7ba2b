"""The fixed dataflows of published designs: each a part of the mapping space, with its best tiles.

A fixed dataflow decides what the array unrolls, what stays in the register files and which orders the tile loops may
have. Tiles, buffering and what it leaves open are chosen as well as they can be, so that the comparison with the whole
space is fair; since it is a part of that space, it is never better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.npu.costs.mapping import ORDERS, Spatial, Stationary
from mosaic_onnx.npu.costs.on_chip import allowed_stationary
from mosaic_onnx.npu.hardware.description import DIMENSIONS, Array, Hardware
from mosaic_onnx.npu.layers.nest import LoopNest
from mosaic_onnx.npu.search.space import Restriction
from mosaic_onnx.npu.search.spatial import AxisChoice, axis_choices

_WEIGHTS_FIRST = (ORDERS[0], ORDERS[1])
_OUTPUTS_LAST = (ORDERS[2], ORDERS[3])
_INPUTS_LAST = (ORDERS[4], ORDERS[5])


@dataclass(frozen=True)
class _Side:
    """The loops that an axis unrolls: the first as far as it goes, then any one of the others in the PEs left idle."""

    first: tuple[str, ...]
    folded: tuple[str, ...] = ()


@dataclass(frozen=True)
class FixedDataflow:
    """A published dataflow.

    Attributes:
        name: what the command line calls it.
        summary: what it unrolls and keeps.
        sides: of the array's two axes, in either orientation.
        stationary: what stays in the register files; the last is taken where they have no room for the first.
        orders: of the tile loops.
    """

    name: str
    summary: str
    sides: tuple[_Side, _Side]
    stationary: tuple[Stationary, ...]
    orders: tuple[tuple[str, ...], ...]


_LIST = (
    FixedDataflow(
        "nvdla",
        "input × output channels unrolled, weights stationary",
        (_Side(("C",)), _Side(("K",))),
        ("weights",),
        (ORDERS[0], ORDERS[2]),
    ),
    FixedDataflow(
        "eyeriss",
        "filter rows × output rows unrolled, replicated over channels; rows stationary",
        (_Side(("R",), ("C", "K")), _Side(("P",), ("C", "K"))),
        ("rows", "outputs"),
        ORDERS,
    ),
    FixedDataflow(
        "shidiannao",
        "output rows × output columns unrolled, outputs stationary",
        (_Side(("P",)), _Side(("Q",))),
        ("outputs",),
        _OUTPUTS_LAST,
    ),
    FixedDataflow(
        "os",
        "pixels × output channels unrolled, outputs stationary",
        (_Side(("Q", "P"), ("P", "Q")), _Side(("K",))),
        ("outputs",),
        _OUTPUTS_LAST,
    ),
    FixedDataflow(
        "ws",
        "input channels and filter × output channels unrolled, weights stationary",
        (_Side(("C",), ("R", "S")), _Side(("K",))),
        ("weights",),
        _WEIGHTS_FIRST,
    ),
    FixedDataflow(
        "is",
        "input channels and filter × pixels unrolled, inputs stationary",
        (_Side(("C",), ("R", "S")), _Side(("Q", "P"), ("P", "Q"))),
        ("inputs",),
        _INPUTS_LAST,
    ),
)
FIXED: Mapping[str, FixedDataflow] = {dataflow.name: dataflow for dataflow in _LIST}
"""Fixed dataflows by name."""


def fixed_dataflow(name: str) -> FixedDataflow:
    """Return a fixed dataflow by name.

    Raises:
        UsageError: none has this name.
    """
    if name not in FIXED:
        raise UsageError(f"no dataflow is called {name!r}", f"best, genetic, or one of {', '.join(FIXED)}")
    return FIXED[name]


def restriction_of(name: str, nest: LoopNest, hardware: Hardware) -> Restriction:
    """Return the part of the mapping space that a fixed dataflow leaves.

    Raises:
        UsageError: no dataflow has this name, or the array cannot unroll its loops.
    """
    dataflow = fixed_dataflow(name)
    spatials = _spatials(dataflow, nest, hardware.array)
    if not spatials:
        raise UsageError(
            f"{hardware.name} cannot run the dataflow {name}: its rows unroll {', '.join(hardware.array.row_unroll)}, "
            f"its columns {', '.join(hardware.array.column_unroll)}",
            f"{name}: {dataflow.summary}",
        )
    possible = allowed_stationary(nest, hardware)
    kept = next(each for each in dataflow.stationary if each in possible)
    return Restriction(name, spatials, (kept,), dataflow.orders)


def _spatials(dataflow: FixedDataflow, nest: LoopNest, array: Array) -> tuple[Spatial, ...]:
    """Return the unrollings of a dataflow, in both orientations where the array allows both."""
    one, other = dataflow.sides
    found: dict[Spatial, None] = {}
    for row_side, column_side in ((one, other), (other, one)):
        rows = _choices(row_side, array.rows, array.row_unroll, nest, fold=array.fold)
        columns = _choices(column_side, array.columns, array.column_unroll, nest, fold=array.fold)
        found |= {Spatial(row, column): None for row in rows for column in columns}
    return tuple(found)


def _choices(side: _Side, size: int, allowed: tuple[str, ...], nest: LoopNest, *, fold: bool) -> tuple[AxisChoice, ...]:
    """Return the ways to lay a side on an axis; none where the axis may unroll none of the side's first loops."""
    trips = {loop: nest.trip(loop) for loop in DIMENSIONS}
    first = [loop for loop in side.first if loop in allowed]
    if not first:
        return ()
    found: dict[AxisChoice, None] = {}
    for loop in first:
        factor = min(size, trips[loop])
        own: AxisChoice = ((loop, factor),) if factor > 1 else ()
        folded = [each for each in side.folded if each in allowed and each != loop] if fold else []
        rest = [choice for choice in axis_choices(size // factor, folded, trips, fold=False) if choice]
        for choice in rest or [()]:
            found[own + choice if choice and choice[0][1] > 1 else own] = None
    return tuple(found)
