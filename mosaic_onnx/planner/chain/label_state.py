"""The state that a label carries beside its cost, and the rule by which one label is no worse than another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.planner.core.request import Request

NOT_YET, DONE = -1, -2
"""A device that has run nothing, a group that has not begun; a group of which no layer is left."""


class LabelState(NamedTuple):
    """The facts that the rest of a plan may depend on."""

    levels: tuple[int, ...]
    """per switching device: the state of its last slice, or ``NOT_YET``"""
    parameters: tuple[int, ...]
    """per capped device: bytes of parameters so far"""
    rest: tuple[int, ...]
    """per capped device: the largest workspace and activations so far"""
    groups: tuple[int, ...]
    """per group: its device, ``NOT_YET`` or ``DONE``"""
    used: int
    """devices that have run something, as bits; 0 where that does not matter"""
    slice_count: int
    """slices so far, up to the least number asked for"""


class LabelRules:
    """The couplings that matter on this table for this request, and the rules to carry them along."""

    def __init__(self, table: CostTable, switch: Floats, request: Request) -> None:
        rows = table.rows
        self.state_device = rows.state_device
        self.one_slice = request.one_slice_per_device
        self.min_slice_count = min(request.min_slice_count, len(table.layer_names))
        self.switch_cost: list[list[float]] = switch.tolist()
        pairs = np.argwhere(switch > 0)
        self.switching = sorted({rows.state_device[int(state)] for state in pairs[:, 0]})
        self.penalty = self._penalties(switch)
        self.capped = [device for device in range(len(table.device_names)) if _may_bind(table, device)]
        self.caps = [rows.memory_bytes[device] for device in self.capped]
        self.group = rows.group
        self.last_of_group = {group: layer for layer, group in enumerate(rows.group) if group >= 0}
        group_count = max(self.last_of_group, default=-1) + 1
        self.nothing = LabelState(
            (NOT_YET,) * len(self.switching),
            (0,) * len(self.capped),
            (0,) * len(self.capped),
            (NOT_YET,) * group_count,
            0,
            0,
        )

    def _penalties(self, switch: Floats) -> list[dict[tuple[int, int], float]]:
        """Per switching device, (a, b) -> how much dearer the next switch may be from state a than from state b."""
        penalties = []
        for device in self.switching:
            states = [s for s, d in enumerate(self.state_device) if d == device]
            costs = {NOT_YET: np.zeros(len(states)), **{s: switch[s, states] for s in states}}
            penalties.append({(a, b): max(0.0, float((costs[a] - costs[b]).max())) for a in costs for b in costs})
        return penalties

    def switch(self, carried: LabelState, state: int) -> float:
        """Return what it costs to bring the state's device to its level."""
        device = self.state_device[state]
        if device not in self.switching:
            return 0.0
        last = carried.levels[self.switching.index(device)]
        return 0.0 if last == NOT_YET else self.switch_cost[last][state]

    def after(self, carried: LabelState, state: int, layers: range, parameters: int, rest: int) -> LabelState | None:
        """Return what is carried after one more slice; None where it breaks a rule."""
        device = self.state_device[state]
        used, groups = carried.used, carried.groups
        if self.one_slice:
            if used >> device & 1:
                return None
            used |= 1 << device
        if groups:
            after = self._groups_after(groups, device, layers)
            if after is None:
                return None
            groups = after
        levels, totals, largest = carried.levels, carried.parameters, carried.rest
        if device in self.switching:
            at = self.switching.index(device)
            levels = (*levels[:at], state, *levels[at + 1 :])
        if device in self.capped:
            at = self.capped.index(device)
            totals = (*totals[:at], totals[at] + parameters, *totals[at + 1 :])
            largest = (*largest[:at], max(largest[at], rest), *largest[at + 1 :])
            if totals[at] + largest[at] > self.caps[at]:
                return None
        count = min(carried.slice_count + 1, self.min_slice_count)
        return LabelState(levels, totals, largest, groups, used, count)

    def _groups_after(self, groups: tuple[int, ...], device: int, layers: range) -> tuple[int, ...] | None:
        """Return the groups' devices after a slice; None where a group would be parted."""
        found = list(groups)
        for layer in layers:
            group = self.group[layer]
            if group >= 0:
                if found[group] not in {NOT_YET, device}:
                    return None
                found[group] = DONE if layer == self.last_of_group[group] else device
        return tuple(found)

    def key(self, carried: LabelState) -> object:
        """Labels are compared only where this is equal."""
        return carried.used, carried.groups

    def no_worse(self, cost: float, one: LabelState, other_cost: float, other: LabelState) -> bool:
        """Return whether whatever may follow ``other`` may follow ``one`` at no more cost in total."""
        if cost > other_cost or one.slice_count < other.slice_count:
            return False
        for penalty, a, b in zip(self.penalty, one.levels, other.levels, strict=True):
            cost += penalty[a, b]
        if cost > other_cost:
            return False
        return all(a <= b for a, b in zip(one.parameters, other.parameters, strict=True)) and all(
            a <= b for a, b in zip(one.rest, other.rest, strict=True)
        )


def _may_bind(table: CostTable, device: int) -> bool:
    """Return whether a plan may break the device's cap although each of its slices keeps it."""
    cap = table.rows.memory_bytes[device]
    states = table.state_device == device
    if cap == float("inf") or not states.any() or not table.layer_names:
        return False
    parameters = int(table.parameter_bytes[:, states].max(axis=1).sum())
    rest = int(table.workspace_bytes[:, states].max()) + max(
        int(table.tensor_bytes.sum()), int(table.activation_bytes[:, states].max(axis=1).sum())
    )
    return parameters + rest > cap
