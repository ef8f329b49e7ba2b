"""A mapping: how the array and the buffer run a loop nest. A point of the space that the search covers."""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.npu.hardware.description import DIMENSIONS

Stationary = Literal["weights", "inputs", "outputs", "rows"]
STATIONARY: tuple[Stationary, ...] = ("weights", "inputs", "outputs", "rows")
"""The operand that a PE keeps in its registers as others stream. ``rows``: a filter row, a sliding window of an input
row and one partial sum (one-dimensional convolutions in the PE, as Eyeriss does)."""
TILED = ("N", "K", "C", "P", "Q")
"""Loops that are cut into tiles for the buffer; filters are never cut."""
PIXELS = ("N", "P", "Q")
"""Loops that do not index the weights."""
ORDERS: tuple[tuple[str, ...], ...] = tuple(
    tuple(loop for part in order for loop in (PIXELS if part == "X" else part))
    for order in ("KCX", "CKX", "KXC", "XKC", "CXK", "XCK")
)
"""Orders of the tile loops, outermost first. The pixel loops stay together: an order that puts another loop between
them never moves fewer bytes (N, P and Q index the same operands), which the tests prove over all 120 orders."""


@dataclass(frozen=True)
class Spatial:
    """Loops unrolled over the array: (loop, factor) pairs of each axis, the folded one second."""

    rows: tuple[tuple[str, int], ...]
    columns: tuple[tuple[str, int], ...]

    def factor(self, loop: str) -> int:
        """Return how many iterations of a loop run at once."""
        return prod(factor for name, factor in (*self.rows, *self.columns) if name == loop)

    def __str__(self) -> str:
        axes = (" · ".join(f"{loop} {factor}" for loop, factor in axis) or "1" for axis in (self.rows, self.columns))
        return " | ".join(axes)


@dataclass(frozen=True)
class Mapping:
    """One way to run a loop nest.

    Attributes:
        spatial: loops on the array.
        order: the five tile loops, outermost first.
        tiles: iterations of each tiled loop that a buffer tile holds.
        stationary: what stays in the PEs' register files.
        double_buffered: whether the next tile loads while this one computes.
    """

    spatial: Spatial
    order: tuple[str, ...]
    tiles: Table[str, int]
    stationary: Stationary
    double_buffered: bool

    def as_fields(self) -> dict[str, Any]:
        """Return the mapping as JSON; ``mapping_from_fields`` reads it back."""
        return {
            "rows": [list(pair) for pair in self.spatial.rows],
            "columns": [list(pair) for pair in self.spatial.columns],
            "order": list(self.order),
            "tiles": dict(self.tiles),
            "stationary": self.stationary,
            "double_buffered": self.double_buffered,
        }


def mapping_from_fields(fields: Table[str, Any]) -> Mapping:
    """Return the mapping of ``as_fields``.

    Raises:
        UsageError: a field is missing or impossible.
    """
    try:
        spatial = Spatial(*(tuple((str(d), int(u)) for d, u in fields[axis]) for axis in ("rows", "columns")))
        order, tiles = tuple(fields["order"]), {str(d): int(t) for d, t in fields["tiles"].items()}
        stationary, double = fields["stationary"], bool(fields["double_buffered"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"not a mapping: {error}") from error
    named = {loop for axis in (spatial.rows, spatial.columns) for loop, _ in axis}
    if sorted(order) != sorted(TILED) or set(tiles) != set(TILED) or stationary not in STATIONARY:
        raise UsageError("not a mapping: order and tiles name N, K, C, P and Q once each")
    if not named <= set(DIMENSIONS) or min(tiles.values()) < 1:
        raise UsageError("not a mapping: a loop that is none, or an empty tile")
    return Mapping(spatial, order, tiles, stationary, double)
