"""Which levels of a device are measured, and holding it there meanwhile."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from mosaic_onnx.backends.base import Backend, SetsLevels
from mosaic_onnx.core.devices import Device, Level


def measured_states(device: Device) -> list[tuple[str, Level | None]]:
    """States to measure: the one, or the lowest and the highest level; those between are estimated."""
    if not device.levels:
        return [(device.name, None)]
    pairs: list[tuple[str, Level | None]] = list(zip(device.states, device.levels, strict=True))
    return [pairs[0], pairs[-1]] if len(pairs) > 1 else pairs


def held_at(backend: Backend, device: Device, level: Level | None) -> AbstractContextManager[None]:
    """Holds the device at a level; does nothing where there is none to hold it at."""
    if level is None or not isinstance(backend, SetsLevels):
        return nullcontext()
    return backend.at_level(device, level)
