"""The graph's drawing: a row and a column for each layer, slice under slice."""

from __future__ import annotations

from dataclasses import dataclass

from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.planner.core.request import Proposal

SLICE_GAP = 1.3
"""Rows left free above each slice, for its name."""


@dataclass(frozen=True)
class Band:
    """The rows of one slice: from ``top`` down to ``bottom``."""

    top: float
    bottom: float


@dataclass(frozen=True)
class Layout:
    """The position of each layer.

    Attributes:
        column: [L] 0 is the middle.
        row: [L] grows downwards.
        bands: by slice.
        edges: (layer that makes a tensor, layer that reads it), each pair once.
        width: columns in all, at least 1.
        height: rows in all.
    """

    column: tuple[float, ...]
    row: tuple[float, ...]
    bands: tuple[Band, ...]
    edges: tuple[tuple[int, int], ...]
    width: float
    height: float


def lay_out(profile: Profile, proposal: Proposal) -> Layout:
    """Return a drawing in which every layer stands below what it reads, and no two slices share a row.

    Within a slice a layer's row is one below the lowest of its makers there; layers of one row stand side by side, in
    the order of the mean column of what they read.

    Args:
        profile: the layers.
        proposal: the slices, in the plan's order.
    """
    edges = edges_of(profile)
    makers: dict[int, list[int]] = {}
    for maker, reader in edges:
        makers.setdefault(reader, []).append(maker)
    count = len(profile.layers)
    column, row = [0.0] * count, [0.0] * count
    bands = []
    top = 0.0
    for placed in proposal:
        rows = _rows(placed.layers, makers)
        first = top + SLICE_GAP
        for depth, layers in enumerate(rows):
            for layer, place in _columns(layers, makers, column).items():
                column[layer], row[layer] = place, first + depth
        bottom = first + len(rows) - 0.5
        bands.append(Band(top, bottom))
        top = bottom + 0.25
    width = max((abs(place) for place in column), default=0.0) * 2 + 1
    return Layout(tuple(column), tuple(row), tuple(bands), edges, width, top)


def edges_of(profile: Profile) -> tuple[tuple[int, int], ...]:
    """Return the pairs of layers of which the second reads what the first makes."""
    producer = {tensor: number for number, layer in enumerate(profile.layers) for tensor in layer.outputs}
    pairs = (
        (producer[tensor], number)
        for number, layer in enumerate(profile.layers)
        for tensor in layer.inputs
        if tensor in producer
    )
    return tuple(dict.fromkeys(pairs))


def _rows(layers: tuple[int, ...], makers: dict[int, list[int]]) -> list[list[int]]:
    """Return a slice's layers by their depth in it."""
    depth: dict[int, int] = {}
    rows: list[list[int]] = []
    for layer in layers:
        depth[layer] = max((depth[maker] + 1 for maker in makers.get(layer, ()) if maker in depth), default=0)
        if depth[layer] == len(rows):
            rows.append([])
        rows[depth[layer]].append(layer)
    return rows


def _columns(layers: list[int], makers: dict[int, list[int]], column: list[float]) -> dict[int, float]:
    """Return the columns of one row's layers, one apart, centred on the mean of their makers'."""

    def wanted(layer: int) -> float:
        above = [column[maker] for maker in makers.get(layer, ())]
        return sum(above) / len(above) if above else 0.0

    ordered = sorted(layers, key=lambda layer: (wanted(layer), layer))
    middle = sum(map(wanted, ordered)) / len(ordered)
    if len(ordered) > 1:
        middle = 0.0
    return {layer: middle + number - (len(ordered) - 1) / 2 for number, layer in enumerate(ordered)}
