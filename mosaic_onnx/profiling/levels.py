"""The levels of a device that are measured, and holding the device at one of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from mosaic_onnx.backends.base import Backend, SetsLevels
from mosaic_onnx.core.devices import Device, Level


def measured_states(device: Device) -> list[tuple[str, Level | None]]:
    """Return the states to measure: the only one, or the lowest and highest levels; others are estimated."""
    if not device.levels:
        return [(device.name, None)]
    pairs: list[tuple[str, Level | None]] = list(zip(device.states, device.levels, strict=True))
    return [pairs[0], pairs[-1]] if len(pairs) > 1 else pairs


def held_at(backend: Backend, device: Device, level: Level | None) -> AbstractContextManager[None]:
    """Return a context that holds the device at a level; it does nothing where the device has no levels."""
    if level is None or not isinstance(backend, SetsLevels):
        return nullcontext()
    return backend.at_level(device, level)
