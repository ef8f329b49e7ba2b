"""Plans to start from: placements along orders that they imply, devices filled one by one, one state for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mosaic_onnx.core.costs import Bools, CostTable, Ints
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.memory_windows import first_layers
from mosaic_onnx.planner.core.orders import file_order, implied_order
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal

INF = float("inf")


def runs(table: CostTable, order: Sequence[int], states: Ints) -> Proposal:
    """The slices of a placement along an order: cut where the state changes, and where a cap is reached."""
    first = first_layers(table, order)
    slices: list[PlacedSlice] = []
    begin = 0
    for place, layer in enumerate(order):
        state = int(states[layer])
        full = state in first and first[state][place] > begin
        if place > begin and (state != states[order[begin]] or full):
            slices.append(PlacedSlice(tuple(order[begin:place]), int(states[order[begin]])))
            begin = place
    if order:
        slices.append(PlacedSlice(tuple(order[begin:]), int(states[order[begin]])))
    return tuple(slices)


def implied_plans(table: CostTable, placements: Sequence[Ints]) -> list[Proposal]:
    """Each placement along the orders that it implies, and along the file's."""
    plans = []
    for states in placements:
        orders = [implied_order(table, states), implied_order(table, states, by_size=True), file_order(table)]
        plans += [runs(table, order, states) for order in dict.fromkeys(orders)]
    return plans


def filled_plans(table: CostTable, orders: Sequence[Sequence[int]]) -> list[Proposal]:
    """Layers along each order to the fastest device until its memory is full, then to the next.

    A layer that the device of the moment cannot run goes to the fastest one without a cap that can.
    """
    if np.isinf(table.memory_bytes).all():
        return []
    able = possible_states(table)
    seconds = np.where(able, table.layer_s, table.layer_s[able].max(initial=0.0) * 2.0)
    liked = np.argsort(seconds.sum(axis=0), kind="stable").tolist()
    plans = []
    for order in orders:
        states = _fill(table, order, liked, able)
        if states is not None:
            plans.append(runs(table, order, states))
    return plans


def _fill(table: CostTable, order: Sequence[int], liked: list[int], able: Bools) -> Ints | None:
    """[L] states; None where a layer finds no room."""
    rows = table.rows
    scratch = (table.workspace_bytes + table.activation_bytes).max(axis=0, initial=0)
    room = {d: cap - (0.0 if cap == INF else float(scratch.max(initial=0))) for d, cap in enumerate(rows.memory_bytes)}
    states = np.zeros(len(order), dtype=np.int64)
    group_device: dict[int, int] = {}
    full: set[int] = set()
    for layer in order:
        group = rows.group[layer]
        for state in liked:
            device = rows.state_device[state]
            needed = rows.parameter_bytes[layer][state]
            wrong = device in full or not able[layer, state]
            if wrong or (group >= 0 and group_device.get(group, device) != device):
                continue
            if needed > room[device]:
                full.add(device)
                continue
            room[device] -= needed
            states[layer] = state
            if group >= 0:
                group_device[group] = device
            break
        else:
            return None
    return states


def one_state_plans(table: CostTable) -> list[Proposal]:
    """All layers in one state, for each state that can run them all."""
    able = np.flatnonzero(possible_states(table).all(axis=0))
    order = file_order(table)
    return [runs(table, order, np.full(len(order), state)) for state in able] if order else []
