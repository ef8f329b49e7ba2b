"""Check that the slices of all models fit the devices' memory together."""

from __future__ import annotations

from collections.abc import Sequence

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.memory import slice_memory
from mosaic_onnx.planner.core.request import Proposal
from mosaic_onnx.scenarios.instance import Instance

INF = float("inf")


def device_bytes(instance: Instance, proposals: Sequence[Proposal]) -> list[int]:
    """Return [D] bytes that a device needs: the parameters of all its slices and the largest rest of any of them.

    Zero for devices without a cap, whose slices are not counted.
    """
    rows = instance.table.rows
    parameters = [0] * len(rows.memory_bytes)
    rest = [0] * len(rows.memory_bytes)
    for model, proposal in zip(instance.models, proposals, strict=True):
        for placed in proposal:
            device = rows.state_device[placed.state]
            if rows.memory_bytes[device] == INF:
                continue
            need = slice_memory(model.table, placed)
            parameters[device] += need.parameters
            rest[device] = max(rest[device], need.workspace + need.activations)
    return [one + other for one, other in zip(parameters, rest, strict=True)]


def check_joint_memory(instance: Instance, proposals: Sequence[Proposal]) -> None:
    """Refuse slices that together need more than some device's ``memory_bytes``.

    Raises:
        InfeasibleError: naming the device, the bytes and the cap.
    """
    caps = instance.table.rows.memory_bytes
    for device, (need, cap) in enumerate(zip(device_bytes(instance, proposals), caps, strict=True)):
        if need > cap:
            raise InfeasibleError(
                f"the slices of all models on {instance.table.device_names[device]} need {need} bytes together, "
                f"its memory_bytes is {cap:.0f}"
            )
