"""The words after a method's name: ``preferred:npu,gpu`` is the method ``preferred`` with ``npu`` and ``gpu``."""

from __future__ import annotations

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.planner.core.request import Request


def words(request: Request) -> tuple[str, ...]:
    """Return the words after the first colon of the request's method; empty where there are none."""
    _, _, text = request.method.partition(":")
    return tuple(word.strip() for word in text.split(",") if word.strip())


def count(request: Request, default: int) -> int:
    """Return one whole number from 1 on.

    Raises:
        UsageError: it is something else.
    """
    given = words(request)
    if not given:
        return default
    if len(given) > 1 or not given[0].isdecimal() or int(given[0]) < 1:
        raise UsageError(f"method {request.method!r}: what follows the colon must be one whole number from 1 on")
    return int(given[0])


def device_order(table: CostTable, request: Request) -> tuple[int, ...]:
    """Device indices by falling preference: those named, then the rest, fastest first.

    "Fastest" is by the seconds for all layers at the highest level, where a layer that the device cannot run counts as
    slow as the slowest device runs it.

    Raises:
        UsageError: no device is named, or a name is unknown or stands twice.
    """
    given = words(request)
    name = request.method.partition(":")[0]
    known = ", ".join(table.device_names)
    if not given:
        raise UsageError(f"method {name} needs a device", f"write {name}:DEVICE with one of: {known}")
    for word in given:
        if word not in table.device_names or given.count(word) > 1:
            raise UsageError(f"method {request.method!r}: {word!r} is unknown or stands twice", f"devices: {known}")
    named = [table.device_names.index(word) for word in given]
    rest = [device for device in by_speed(table) if device not in named]
    return (*named, *rest)


def by_speed(table: CostTable) -> list[int]:
    """Device indices, fastest first (see ``device_order``)."""
    seconds = table.layer_s[:, highest_states(table)]
    possible = np.isfinite(seconds)
    slowest = np.where(possible, seconds, 0.0).max(axis=1, initial=0.0)
    totals = np.where(possible, seconds, slowest[:, None]).sum(axis=0)
    return sorted(range(len(table.device_names)), key=lambda device: totals[device])


def highest_states(table: CostTable) -> list[int]:
    """Return [D] the state of each device's highest level; levels stand lowest first."""
    states: dict[int, int] = {}
    for state, device in enumerate(table.rows.state_device):
        states[device] = state
    return [states[device] for device in range(len(table.device_names))]


def lowest_states(table: CostTable) -> list[int]:
    """Return [D] the state of each device's lowest level."""
    states: dict[int, int] = {}
    for state, device in enumerate(table.rows.state_device):
        states.setdefault(device, state)
    return [states[device] for device in range(len(table.device_names))]
