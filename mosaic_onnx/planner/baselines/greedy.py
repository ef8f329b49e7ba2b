"""ONNX Runtime's way with a list of providers: each takes all that it can, in the order of the list."""

from __future__ import annotations

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import NoPlanFoundError
from mosaic_onnx.planner.baselines.arguments import device_order, highest_states
from mosaic_onnx.planner.baselines.random_plans import fits
from mosaic_onnx.planner.core.orders import implied_order
from mosaic_onnx.planner.core.request import Answer, PlacedSlice, Proposal, Request


def greedy(table: CostTable, request: Request) -> Answer:
    """``greedy:FIRST,SECOND,…``: every layer goes to the first listed device that can run it, whatever it costs.

    Unlike ``preferred``, layers of one device are gathered into as few slices as the graph allows, wherever they stand
    in the file. A slice that would break its device's cap is closed early, so that the plan can run; a layer that
    breaks it alone goes to the next device.

    Raises:
        UsageError: no device is named, or none has that name.
        NoPlanFoundError: no device can run a layer.
    """
    order = device_order(table, request)
    states = highest_states(table)
    chosen = np.array([_first(table, layer, [states[device] for device in order]) for layer in _layers(table)])
    return Answer((_gathered(table, chosen.astype(np.int64)),))


def _layers(table: CostTable) -> range:
    return range(len(table.layer_names))


def _first(table: CostTable, layer: int, states: list[int]) -> int:
    """Return the first state that runs the layer and all of its group."""
    rows = table.rows
    group = rows.group[layer]
    members = [layer] if group < 0 else [each for each in _layers(table) if rows.group[each] == group]
    for state in states:
        if all(rows.layer_s[member][state] != float("inf") for member in members) and fits(
            table, PlacedSlice((layer,), state)
        ):
            return state
    raise NoPlanFoundError(f"no device can run layer {table.layer_names[layer]}")


def _gathered(table: CostTable, states: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Proposal:
    """Return consecutive layers of one state, in an order that changes state seldom."""
    slices: list[PlacedSlice] = []
    for layer in implied_order(table, states):
        state = int(states[layer])
        grown = PlacedSlice((*slices[-1].layers, layer), state) if slices and slices[-1].state == state else None
        if grown is not None and fits(table, grown):
            slices[-1] = grown
        else:
            slices.append(PlacedSlice((layer,), state))
    return tuple(slices)
