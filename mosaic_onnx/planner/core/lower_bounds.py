"""Costs that a sequential plan certainly pays, whatever its order and slices: the parts of lower bounds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Bools, CostTable, Floats, Ints
from mosaic_onnx.planner.core.objective_weights import Weighed

HOST_PLACE = 0
"""Host's memory, shared by every device without a memory of its own; place 1 + d is device d's."""


def places_of_states(table: CostTable) -> Ints:
    """Return [S] the memory in which each state's device works: 0 for host's."""
    device = table.state_device
    return np.where(table.own_memory[device], device + 1, HOST_PLACE)


def possible_states(table: CostTable) -> Bools:
    """Return [L, S] states that can run the layer and whose caps hold it."""
    return np.isfinite(table.layer_s) & fits_alone(table)


def useful_states(table: CostTable, criteria: Sequence[Weighed]) -> Bools:
    """Return [L, S] possible states less those that another level of their device is no worse than, in all criteria.

    That is right where switching levels is free, and a lower bound where it is not: the placement problem counts
    neither switches nor what slices of several layers need at once, and segments only by the layers' lowered costs.
    Weights on capped devices are compared too, since they add up. Of equal levels the first is kept.
    Devices that share host's memory are as levels of one device, where slices cost nothing, the better one has no caps
    and the layer is in no group.
    """
    possible = possible_states(table)
    layers = [np.where(possible, segment_floor(table, weighed), np.inf) for weighed in criteria]
    leaving = [_leaving(table, weighed) for weighed in criteria]
    made = table.producer >= 0
    alike = _alike(table, criteria)
    counted = np.isfinite(table.memory_bytes)[table.state_device]
    useful = possible.copy()
    for a, b in permutations(range(possible.shape[1]), 2):
        levels = table.state_device[a] == table.state_device[b]
        if not levels and not alike[a, b]:
            continue
        better, equal = np.ones((2, len(possible)), dtype=np.bool_)
        if counted[a]:  # weights add up to the device's cap
            better &= table.parameter_bytes[:, a] <= table.parameter_bytes[:, b]
            equal &= table.parameter_bytes[:, a] == table.parameter_bytes[:, b]
        for layer, costs in zip(layers, leaving, strict=True):
            better &= layer[:, a] <= layer[:, b]
            equal &= layer[:, a] == layer[:, b]
            ahead, behind = costs[made, a], costs[made, b]
            same_way = np.isfinite(ahead) == np.isfinite(
                behind
            )  # directly or by host: which is cheaper hangs on others
            np.logical_and.at(better, table.producer[made], ((ahead <= behind) & same_way).all(axis=1))
            np.logical_and.at(equal, table.producer[made], (ahead == behind).all(axis=1))
        useful[:, b] &= ~(better & ~(equal & (a > b)) & (levels | (table.group < 0)))
    return useful


def _alike(table: CostTable, criteria: Sequence[Weighed]) -> Bools:
    """Return [S, S] the first state may stand in for the second although its device is another."""
    in_host = places_of_states(table) == HOST_PLACE
    uncapped = np.isinf(np.minimum(table.memory_bytes, table.slice_memory_bytes))[table.state_device]
    if any(weighed.slice.any() or weighed.segments for weighed in criteria):
        in_host = np.zeros_like(in_host)
    return np.asarray((in_host & uncapped)[:, None] & in_host[None, :])


def _leaving(table: CostTable, weighed: Weighed) -> Floats:
    """[T, S, places] what it costs to bring each tensor from each state to host (place 0) or directly elsewhere."""
    _, direct, _ = arrivals(table, weighed)
    if direct is None:
        return weighed.to_host[:, :, None]
    return np.concatenate([weighed.to_host[:, :, None], direct[:, :, 1:]], axis=2)


def fits_alone(table: CostTable) -> Bools:
    """Return [L, S] whether a slice of that one layer keeps within the caps."""
    caps = np.minimum(table.slice_memory_bytes, table.memory_bytes)[table.state_device]
    return np.asarray(table.parameter_bytes + scratch_alone(table) <= caps, dtype=np.bool_)


def scratch_alone(table: CostTable) -> Ints:
    """Return [L, S] bytes of workspace and activations of a slice of that one layer."""
    live = table.rows.touched_bytes
    sums = table.activation_sum[table.state_device]
    scratch: Ints = table.workspace_bytes + np.where(sums, table.activation_bytes, live[:, None])
    return scratch


def segment_floor(table: CostTable, weighed: Weighed) -> Floats:
    """Return [L, S] layer costs lowered until no measured segment costs less than its layers' sum.

    Each layer is scaled by the smallest ratio segment/sum of the segments that hold it; so a segment's layers sum to
    at most (smallest ratio) x (sum) <= the segment's cost.
    """
    ratio = np.ones_like(weighed.layer)
    for (first, last, state), cost in weighed.segments.items():
        own = float(weighed.layer[first : last + 1, state].sum())
        if cost < own:
            held = ratio[first : last + 1, state]
            np.minimum(held, cost / own, out=held)
    return weighed.layer * np.maximum(ratio, np.finfo(np.float64).tiny)


def longest_path(table: CostTable) -> tuple[int, ...]:
    """Return the path of the graph with the most layers."""
    length = [1] * len(table.layer_names)
    came_from = [-1] * len(length)
    for layer, inputs in enumerate(table.layer_inputs):
        for t in inputs:
            before = int(table.producer[t])
            if before >= 0 and length[before] + 1 > length[layer]:
                length[layer], came_from[layer] = length[before] + 1, before
    path = []
    layer = int(np.argmax(length)) if length else -1
    while layer >= 0:
        path.append(layer)
        layer = came_from[layer]
    return tuple(reversed(path))


def arrivals(table: CostTable, weighed: Weighed) -> tuple[Floats, Floats | None, bool]:
    """Return the cheapest arrivals of each tensor at each place.

    Returns:
        [T, places] from host; [T, S, places] directly, inf where the way is by host (None without direct entries);
        whether all levels of a device pay the same.
    """
    place = places_of_states(table)
    place_count = len(table.device_names) + 1
    arrival = np.zeros((len(table.tensor_names), place_count))
    uniform = True
    for target in range(1, place_count):
        states = np.flatnonzero(place == target)
        if len(states):
            columns = weighed.from_host[:, states]
            arrival[:, target] = columns.min(axis=1)
            uniform &= bool((columns == columns[:, :1]).all())
    if not weighed.direct:
        return arrival, None, uniform
    direct = np.full((len(table.tensor_names), len(place), place_count), np.inf)
    seen: dict[tuple[int, int], list[Floats]] = {}
    for (source, destination), costs in weighed.direct.items():
        seen.setdefault((source, int(place[destination])), []).append(costs)
    for (source, target), rows in seen.items():
        levels = np.stack(rows)
        known = np.isfinite(levels)
        least = levels.min(axis=0)
        whole = known.all(axis=0) & (len(rows) == int((place == target).sum()))
        some = known.any(axis=0) & ~whole  # only some levels: the cheaper way, at no charge for host
        direct[:, source, target] = np.where(some, np.minimum(least, arrival[:, target]), least)
        uniform &= not some.any() and bool((levels == levels[:1]).all())
    return arrival, direct, uniform


def certain_overhead(table: CostTable, weighed: Weighed, by_device: bool) -> Floats:
    """[L, S] the slice overhead that any slice with this layer in this state pays: none where a segment may hold it.

    Args:
        table: costs.
        weighed: the same costs, each as one number.
        by_device: what any slice on the state's device pays, whatever its level.
    """
    overhead = np.repeat(weighed.slice[table.state_device][None, :], len(table.layer_names), axis=0)
    for first, last, state in weighed.segments:
        free = table.state_device == table.state_device[state] if by_device else [state]
        overhead[first : last + 1, free] = 0.0
    return overhead


def cheapest_switches(table: CostTable, weighed: Weighed) -> Floats:
    """Return [S, S] the least that a device pays from one level to another, through others where that is cheaper."""
    cheapest = weighed.switch.copy()
    for middle in range(len(cheapest)):
        mates = np.flatnonzero(table.state_device == table.state_device[middle])
        block = np.ix_(mates, mates)
        through = cheapest[mates, middle][:, None] + cheapest[middle, mates][None, :]
        cheapest[block] = np.minimum(cheapest[block], through)
    np.fill_diagonal(cheapest, 0.0)
    return cheapest
