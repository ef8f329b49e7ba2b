"""Plans to start from: placements along orders that they imply, devices filled one by one, one state for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Bools, CostTable, Ints
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.memory import slice_memory
from mosaic_onnx.planner.core.orders import file_order, implied_order
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal

INF = float("inf")
SPARE = 1.05
"""Devices are filled to a share at which so many times the bytes of all layers would fit."""
QUICK_LAYERS = 50_000
"""Layers of the plans with all layers in one state that are looked at before anything else."""


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


def implied_plans(table: CostTable, placements: Sequence[Ints]) -> Iterator[Proposal]:
    """Yield each placement along the orders that it implies, and along the file's."""
    for states in placements:
        done: set[tuple[int, ...]] = set()
        for by_size in (False, True, None):
            order = file_order(table) if by_size is None else implied_order(table, states, by_size)
            if order not in done:
                done.add(order)
                yield runs(table, order, states)


def filled_plans(table: CostTable, orders: Sequence[Sequence[int]]) -> Iterator[Proposal]:
    """Yield layers along each order on the fastest device until its memory is full, then on the next.

    Devices are filled to the same share, so that there is room left on each for layers that the device of the moment
    cannot run.
    """
    if np.isinf(table.memory_bytes).all():
        return
    able = possible_states(table)
    seconds = np.where(able, table.layer_s, table.layer_s[able].max(initial=0.0) * 2.0)
    liked = np.argsort(seconds.sum(axis=0), kind="stable").tolist()
    for order in orders:
        states = _fill(table, order, liked, able)
        if states is not None:
            yield runs(table, order, states)


def _fill(table: CostTable, order: Sequence[int], liked: list[int], able: Bools) -> Ints | None:
    """Return [L] states; None where a layer finds no room."""
    rows = table.rows
    scratch = (table.workspace_bytes + table.activation_bytes).max(axis=0, initial=0)
    room = {d: cap - (0.0 if cap == INF else float(scratch.max(initial=0))) for d, cap in enumerate(rows.memory_bytes)}
    needed = np.where(able, table.parameter_bytes, 0).max(axis=1).sum()
    total = sum(room.values())
    share = 1.0 if total == INF else min(1.0, SPARE * float(needed) / max(total, 1.0))
    left_over = {device: (1.0 - share) * spare if spare < INF else 0.0 for device, spare in room.items()}
    states = np.zeros(len(order), dtype=np.int64)
    group_device: dict[int, int] = {}
    full: set[int] = set()
    may_run = able.tolist()
    for layer in order:
        group = rows.group[layer]
        chosen = -1
        for state in liked:
            device = rows.state_device[state]
            if not may_run[layer][state] or (group >= 0 and group_device.get(group, device) != device):
                continue
            after = room[device] - rows.parameter_bytes[layer][state]
            if device not in full and after >= left_over[device]:
                chosen = state
                break
            full.add(device)
            if after >= 0 and chosen < 0:
                chosen = state
        if chosen < 0:
            return None
        states[layer] = chosen
        room[rows.state_device[chosen]] -= rows.parameter_bytes[layer][chosen]
        if group >= 0:
            group_device[group] = rows.state_device[chosen]
    return states


def one_state_plans(table: CostTable) -> Iterator[Proposal]:
    """Yield all layers in one state, for each state that can run them all, the fastest first."""
    able = np.flatnonzero(possible_states(table).all(axis=0))
    order = file_order(table)
    for state in able[np.argsort(table.layer_s[:, able].sum(axis=0), kind="stable")] if order else ():
        yield runs(table, order, np.full(len(order), state))


def quick_plans(table: CostTable) -> Iterator[Proposal]:
    """Yield plans that are made in a moment: all layers in one state; devices filled in turn."""
    yield from islice(one_state_plans(table), 1 + QUICK_LAYERS // max(len(table.layer_names), 1))
    yield from filled_plans(table, [file_order(table)])
