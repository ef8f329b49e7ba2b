"""Plans to start from: placements along orders that they imply, devices filled one by one, one state for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mosaic_onnx.core.costs import Bools, CostTable, Ints
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.memory import slice_memory
from mosaic_onnx.planner.core.orders import file_order, implied_order
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal

INF = float("inf")


def runs(table: CostTable, order: Sequence[int], states: Sequence[int] | Ints) -> Proposal:
    """Return a placement as slices along an order: cut where the state changes, and where a cap is reached.

    A device's cap also holds the parameters of its other slices, so what is left for workspace and activations of any
    one slice is the cap less all parameters of the placement.

    Args:
        table: costs.
        order: all layers, in a topological order.
        states: [L] state of each layer.
    """
    spare = _spare_bytes(table, states)
    slices: list[PlacedSlice] = []
    begin = 0
    for place in range(1, len(order) + 1):
        state = int(states[order[begin]])
        if place == len(order) or int(states[order[place]]) != state:
            slices += _cut(table, tuple(order[begin:place]), state, spare)
            begin = place
    return tuple(slices)


def _spare_bytes(table: CostTable, states: Sequence[int] | Ints) -> list[float]:
    """Return [D] what each device's cap leaves once the parameters of its layers are there."""
    chosen = np.asarray(states, dtype=np.int64)
    used = np.zeros(len(table.device_names))
    np.add.at(used, table.state_device[chosen], table.parameter_bytes[np.arange(len(chosen)), chosen])
    spare: list[float] = (table.memory_bytes - used).tolist()
    return spare


def _cut(table: CostTable, layers: tuple[int, ...], state: int, spare: Sequence[float]) -> Iterator[PlacedSlice]:
    """Yield the layers as few slices within the caps; what a slice needs never shrinks when it grows."""
    device = table.rows.state_device[state]
    cap, left = table.rows.slice_memory_bytes[device], spare[device]

    def fits(count: int) -> bool:
        need = slice_memory(table, PlacedSlice(layers[:count], state))
        return need.total <= cap and need.workspace + need.activations <= left

    if cap == left == INF or left < 0:  # nothing binds, or no slices help
        yield PlacedSlice(layers, state)
        return
    while layers:
        low, high = 1, 2
        while high <= len(layers) and fits(high):
            low, high = high, 2 * high
        high = min(high, len(layers) + 1)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        yield PlacedSlice(layers[:low], state)
        layers = layers[low:]


def implied_plans(table: CostTable, placements: Sequence[Ints]) -> list[Proposal]:
    """Return each placement along the orders that it implies, and along the file's."""
    plans = []
    for states in placements:
        orders = [implied_order(table, states), implied_order(table, states, by_size=True), file_order(table)]
        plans += [runs(table, order, states) for order in dict.fromkeys(orders)]
    return plans


def filled_plans(table: CostTable, orders: Sequence[Sequence[int]]) -> list[Proposal]:
    """Return layers along each order to the fastest device until its memory is full, then to the next.

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
    """Return [L] states; None where a layer finds no room."""
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
    """Return all layers in one state, for each state that can run them all."""
    able = np.flatnonzero(possible_states(table).all(axis=0))
    order = file_order(table)
    return [runs(table, order, np.full(len(order), state)) for state in able] if order else []
