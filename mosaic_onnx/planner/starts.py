"""Plans to start from: placements along orders that they imply, orders cut into slices, devices filled one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from mosaic_onnx.costs import Bools, CostTable, Floats, Ints
from mosaic_onnx.errors import InfeasibleError
from mosaic_onnx.planner.floors import possible_states
from mosaic_onnx.planner.interval import best_slices
from mosaic_onnx.planner.orders import file_order, implied_order
from mosaic_onnx.planner.request import Placed, Proposal
from mosaic_onnx.planner.weights import Weighed, Weights, weigh
from mosaic_onnx.planner.windows import first_layers

INF = float("inf")
PRICE_STEPS = 12
"""How often the price of a byte is doubled to make slices keep a device's cap."""


def runs(table: CostTable, order: Sequence[int], states: Ints) -> Proposal:
    """The slices of a placement along an order: cut where the state changes, and where a cap is reached."""
    first = first_layers(table, order)
    slices: list[Placed] = []
    begin = 0
    for place, layer in enumerate(order):
        state = int(states[layer])
        full = state in first and first[state][place] > begin
        if place > begin and (state != states[order[begin]] or full):
            slices.append(Placed(tuple(order[begin:place]), int(states[order[begin]])))
            begin = place
    if order:
        slices.append(Placed(tuple(order[begin:]), int(states[order[begin]])))
    return tuple(slices)


def implied_plans(table: CostTable, placements: Sequence[Ints]) -> list[Proposal]:
    """Each placement along the orders that it implies, and along the file's."""
    plans = []
    for states in placements:
        orders = [implied_order(table, states), implied_order(table, states, by_size=True), file_order(table)]
        plans += [runs(table, order, states) for order in dict.fromkeys(orders)]
    return plans


def cut_plans(
    table: CostTable, weights: Sequence[Weights], orders: Sequence[Sequence[int]], states: Ints | None, until: float
) -> Iterator[Proposal]:
    """The best slices along each order for each pair of weights, as long as there is time.

    Where they break a device's cap, more are tried: with its bytes at a growing price, and spread over other devices.

    Args:
        table: costs.
        weights: of seconds and joules.
        orders: topological orders.
        states: [L] a placement, whose devices groups are kept on; None for each group's fastest.
        until: ``time.monotonic()`` when to stop.
    """
    apart = replace(table, io_host=table.io_host | np.isfinite(table.memory_bytes))
    for one in weights:
        weighed = _groups_placed(table, weigh(table, one), states)
        loose = replace(table, group=np.full_like(table.group, -1))
        for order in orders:
            if time.monotonic() > until:
                return
            try:
                proposal = best_slices(loose, weighed, order).proposal
                yield proposal
                if over_memory(table, proposal):
                    yield spread(table, best_slices(replace(apart, group=loose.group), weighed, order).proposal)
                    yield from _within_memory(loose, weighed, order, until)
            except InfeasibleError:
                continue


def _groups_placed(table: CostTable, weighed: Weighed, states: Ints | None) -> Weighed:
    """The costs with every group's layers only on one device, so that programs along an order need not know of it."""
    layer = weighed.layer.copy()
    for group in np.unique(table.group[table.group >= 0]):
        members = np.flatnonzero(table.group == group)
        if states is not None:
            device = table.state_device[states[members[0]]]
        else:
            device = table.state_device[int(weighed.layer[members].sum(axis=0).argmin())]
        layer[np.ix_(members, np.flatnonzero(table.state_device != device))] = INF
    return replace(weighed, layer=layer)


def spread(table: CostTable, proposal: Proposal) -> Proposal:
    """The slices, each that finds its device's memory full moved to the fastest device with room, if there is one."""
    room = table.memory_bytes.copy()
    seconds = np.where(possible_states(table), table.layer_s, INF)
    spread_out = []
    for layers, state in proposal:
        needed = table.parameter_bytes[list(layers)].sum(axis=0)
        fits = needed <= room[table.state_device]
        costs = np.where(fits, seconds[list(layers)].sum(axis=0), INF)
        chosen = state if fits[state] or np.isinf(costs.min()) else int(costs.argmin())
        room[table.state_device[chosen]] -= needed[chosen]
        spread_out.append(Placed(layers, chosen))
    return tuple(spread_out)


def _within_memory(table: CostTable, weighed: Weighed, order: Sequence[int], until: float) -> Iterator[Proposal]:
    """Slices along an order under growing prices per byte of the devices that hold too much."""
    capped = np.isfinite(table.memory_bytes)[table.state_device]
    finite = np.where(np.isfinite(weighed.layer), weighed.layer, 0.0)
    price = float(finite.max(initial=0.0)) / max(float(table.parameter_bytes.max(initial=0)), 1.0) / PRICE_STEPS
    prices = np.zeros(len(table.device_names))
    for _ in range(PRICE_STEPS):
        if time.monotonic() > until or not price:
            return
        dearer = weighed.layer + (prices[table.state_device] * capped)[None, :] * table.parameter_bytes
        try:
            proposal = best_slices(table, replace(weighed, layer=dearer), order).proposal
        except InfeasibleError:
            return
        used = parameters_used(table, proposal)
        over = used > table.memory_bytes
        if not over.any():
            yield proposal
            return
        prices = np.where(over, np.maximum(2.0 * prices, price), prices)


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


def parameters_used(table: CostTable, proposal: Proposal) -> Floats:
    """[D] bytes of parameters on each device."""
    used = np.zeros(len(table.device_names))
    for layers, state in proposal:
        used[table.state_device[state]] += table.parameter_bytes[list(layers), state].sum()
    return used


def over_memory(table: CostTable, proposal: Proposal) -> bool:
    """Whether the parameters alone break a device's cap."""
    return bool((parameters_used(table, proposal) > table.memory_bytes).any())
