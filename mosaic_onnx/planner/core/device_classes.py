"""Devices that are alike: a plan may swap them, so a method need not look at both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable


@dataclass(frozen=True)
class DeviceClass:
    """Devices between which no cost and no cap tells a difference in time.

    Attributes:
        devices: device indices.
        states: states of the first of them.
    """

    devices: tuple[int, ...]
    states: tuple[int, ...]

    def state_on(self, table: CostTable, state: int, device: int) -> int:
        """Return the state of another device of the class that is like ``state`` of the first one."""
        return states_of(table, device)[self.states.index(state)]


def states_of(table: CostTable, device: int) -> tuple[int, ...]:
    """Return the device's states, ascending."""
    return tuple(np.flatnonzero(table.state_device == device).tolist())


def device_classes(table: CostTable) -> tuple[DeviceClass, ...]:
    """Return the devices, sorted into classes of alike ones, in order of their first members."""
    classes: list[list[int]] = []
    for device in range(len(table.device_names)):
        for members in classes:
            if _alike(table, members[0], device):
                members.append(device)
                break
        else:
            classes.append([device])
    return tuple(DeviceClass(tuple(members), states_of(table, members[0])) for members in classes)


def _alike(table: CostTable, one: int, other: int) -> bool:
    """Return whether swapping the two devices changes nothing that takes time or memory."""
    mine, theirs = states_of(table, one), states_of(table, other)
    if len(mine) != len(theirs):
        return False
    for values in (
        table.own_memory,
        table.io_host,
        table.activation_sum,
        table.slice_s,
        table.memory_bytes,
        table.slice_memory_bytes,
    ):
        if values[one] != values[other]:
            return False
    for columns in (
        table.layer_s,
        table.parameter_bytes,
        table.workspace_bytes,
        table.activation_bytes,
        table.to_host_s,
        table.from_host_s,
    ):
        if not np.array_equal(columns[:, mine], columns[:, theirs]):
            return False
    swapped = dict(zip((*mine, *theirs), (*theirs, *mine), strict=True))
    return _same_pairs(table, swapped) and _same_segments(table, swapped)


def _same_pairs(table: CostTable, swapped: dict[int, int]) -> bool:
    """Switches and direct copies are the same after the swap."""
    order = [swapped.get(state, state) for state in range(len(table.state_names))]
    if not np.array_equal(table.switch_s, table.switch_s[np.ix_(order, order)]):
        return False
    for (source, destination), seconds in table.direct_s.items():
        other = table.direct_s.get((order[source], order[destination]))
        if other is None or not np.array_equal(seconds, other):
            return False
    return True


def _same_segments(table: CostTable, swapped: dict[int, int]) -> bool:
    """Measured slices are the same after the swap."""
    for (first, last, state), (seconds, _) in table.segments.items():
        other = table.segments.get((first, last, swapped.get(state, state)))
        if other is None or other[0] != seconds:
            return False
    return True
