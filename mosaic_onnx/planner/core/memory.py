"""Memory that slices need, and the caps on it."""

from __future__ import annotations

from typing import NamedTuple

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.text.quantities import bytes_text
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal


class SliceMemory(NamedTuple):
    """Bytes that one slice needs."""

    parameters: int
    workspace: int
    activations: int

    @property
    def total(self) -> int:
        """Return all of it, which ``slice_memory_bytes`` caps."""
        return self.parameters + self.workspace + self.activations


def slice_memory(table: CostTable, placed: PlacedSlice) -> SliceMemory:
    """Return bytes of one slice: parameters summed, the largest workspace, activations as its device counts them."""
    rows, (layers, state) = table.rows, placed
    parameters = sum([rows.parameter_bytes[layer][state] for layer in layers])
    workspace = max([rows.workspace_bytes[layer][state] for layer in layers])
    if rows.activation_sum[rows.state_device[state]]:
        activations = sum([rows.activation_bytes[layer][state] for layer in layers])
    else:
        activations = live_bytes(table, layers)
    return SliceMemory(parameters, workspace, activations)


def live_bytes(table: CostTable, layers: tuple[int, ...]) -> int:
    """Return the largest sum of tensors live at once while a slice runs its layers in this order.

    External inputs live from the start of the slice until their last use inside; tensors made inside from their layer
    until their last use, or to the end of the slice where anything outside needs them.
    """
    rows, place = table.rows, {layer: step for step, layer in enumerate(layers)}
    change = [0] * (len(layers) + 1)
    for tensor in dict.fromkeys(t for layer in layers for t in table.layer_inputs[layer]):
        if rows.producer[tensor] not in place:
            last = max([place[c] for c in table.consumers[tensor] if c in place])
            change[0] += rows.tensor_bytes[tensor]
            change[last + 1] -= rows.tensor_bytes[tensor]
    for step, layer in enumerate(layers):
        for tensor in table.layer_outputs[layer]:
            uses = [place.get(c, len(layers) - 1) for c in table.consumers[tensor]]
            last = len(layers) - 1 if rows.is_output[tensor] else max(uses, default=step)
            change[step] += rows.tensor_bytes[tensor]
            change[last + 1] -= rows.tensor_bytes[tensor]
    live = largest = 0
    for step_change in change:
        live += step_change
        largest = max(largest, live)
    return largest


def check_memory(table: CostTable, proposal: Proposal) -> None:
    """Check whether every slice and every device keeps its caps.

    Raises:
        InfeasibleError: naming the slice or the device, the bytes and the cap.
    """
    rows = table.rows
    parameters: dict[int, int] = {}
    rest: dict[int, int] = {}
    for placed in proposal:
        device = rows.state_device[placed.state]
        slice_cap, device_cap = rows.slice_memory_bytes[device], rows.memory_bytes[device]
        if slice_cap == device_cap == float("inf"):
            continue
        need = slice_memory(table, placed)
        if need.total > slice_cap:
            first = table.layer_names[placed.layers[0]]
            raise InfeasibleError(
                f"the slice from layer {first} on {table.device_names[device]} needs {bytes_text(need.total)}, "
                f"its slice_memory_bytes is {bytes_text(slice_cap)}"
            )
        parameters[device] = parameters.get(device, 0) + need.parameters
        rest[device] = max(rest.get(device, 0), need.workspace + need.activations)
    for device, total in parameters.items():
        if total + rest[device] > rows.memory_bytes[device]:
            raise InfeasibleError(
                f"the slices on {table.device_names[device]} need {bytes_text(total + rest[device])}, "
                f"its memory_bytes is {bytes_text(rows.memory_bytes[device])}"
            )


def device_bytes(table: CostTable, proposal: Proposal, device: int) -> int:
    """Return the bytes that a device's slices need: all their parameters, and the most that one of them needs else."""
    needs = [slice_memory(table, placed) for placed in proposal if table.rows.state_device[placed.state] == device]
    scratch = max((need.workspace + need.activations for need in needs), default=0)
    return sum(need.parameters for need in needs) + scratch


def largest_slice_bytes(table: CostTable, proposal: Proposal, device: int) -> int:
    """Return the bytes that the neediest slice of a device needs by itself."""
    on_device = (placed for placed in proposal if table.rows.state_device[placed.state] == device)
    return max((slice_memory(table, placed).total for placed in on_device), default=0)
