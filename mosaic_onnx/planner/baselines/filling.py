"""Slices filled with as many consecutive layers as a device may hold, devices taken by preference (section VI-A)."""

from __future__ import annotations

from collections.abc import Sequence

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import NoPlanFoundError
from mosaic_onnx.planner.baselines.arguments import highest_states
from mosaic_onnx.planner.core.memory import slice_memory
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal


def filled_slices(table: CostTable, order: Sequence[int]) -> Proposal:
    """Return every layer on the first device of ``order`` that can hold it; runs of layers on one device share slices.

    A slice is closed where the next layer prefers another device or would break the slice's cap. A device whose
    ``memory_bytes`` is spent takes no more layers. All slices are at their device's highest level.

    Args:
        table: the costs; layers are taken in its order.
        order: device indices by falling preference.

    Raises:
        NoPlanFoundError: no device can hold a layer.
    """
    filler = _Filler(table, order)
    for layer in range(len(table.layer_names)):
        filler.add(layer)
    return tuple(filler.slices)


class _Filler:
    """The slices so far."""

    def __init__(self, table: CostTable, order: Sequence[int]) -> None:
        self.table = table
        self.order = order
        self.states = highest_states(table)
        self.slices: list[PlacedSlice] = []
        self.group_device: dict[int, int] = {}
        self.parameters = [0] * len(table.device_names)
        self.largest_rest = [0] * len(table.device_names)

    def add(self, layer: int) -> None:
        """Put one more layer into the last slice or a new one."""
        group = self.table.rows.group[layer]
        order = [self.group_device[group]] if group in self.group_device else self.order
        device = next((device for device in order if self._can_hold(layer, device)), None)
        if device is None:
            raise NoPlanFoundError(f"no device can hold layer {self.table.layer_names[layer]} beside what it holds")
        if group >= 0:
            self.group_device[group] = device
        grown = self._grown(layer, device)
        if grown is not None:
            self.slices[-1] = grown
        else:
            self.slices.append(PlacedSlice((layer,), self.states[device]))
        self._charge(device, layer)

    def _can_hold(self, layer: int, device: int) -> bool:
        """Return the device runs the layer (and all of its group), and a slice with this layer keeps the caps."""
        rows, state = self.table.rows, self.states[device]
        group = rows.group[layer]
        members = [layer] if group < 0 else [each for each, other in enumerate(rows.group) if other == group]
        if any(rows.layer_s[member][state] == float("inf") for member in members):
            return False
        if self._grown(layer, device) is not None:
            return True
        alone = PlacedSlice((layer,), state)
        return self._keeps_caps(alone, device)

    def _grown(self, layer: int, device: int) -> PlacedSlice | None:
        """Return the last slice with the layer, where it is on this device and stays within the caps."""
        if not self.slices or self.slices[-1].state != self.states[device]:
            return None
        grown = PlacedSlice((*self.slices[-1].layers, layer), self.slices[-1].state)
        return grown if self._keeps_caps(grown, device) else None

    def _keeps_caps(self, placed: PlacedSlice, device: int) -> bool:
        rows = self.table.rows
        slice_cap, device_cap = rows.slice_memory_bytes[device], rows.memory_bytes[device]
        if slice_cap == device_cap == float("inf"):
            return True
        need = slice_memory(self.table, placed)
        parameters = self.parameters[device] + rows.parameter_bytes[placed.layers[-1]][placed.state]
        rest = max(self.largest_rest[device], need.workspace + need.activations)
        return need.total <= slice_cap and parameters + rest <= device_cap

    def _charge(self, device: int, layer: int) -> None:
        rows = self.table.rows
        if rows.memory_bytes[device] == float("inf"):
            return
        need = slice_memory(self.table, self.slices[-1])
        self.parameters[device] += rows.parameter_bytes[layer][self.slices[-1].state]
        self.largest_rest[device] = max(self.largest_rest[device], need.workspace + need.activations)
