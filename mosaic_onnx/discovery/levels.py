"""The frequencies of real devices as their levels, where this process may set them."""

from __future__ import annotations

from dataclasses import replace

from mosaic_onnx.backends.base import CostSource, SetsLevels
from mosaic_onnx.core.devices import Device
from mosaic_onnx.discovery.selection import Selection


def with_levels(selection: Selection) -> tuple[Selection, dict[str, str]]:
    """Give the chosen devices that have none the levels that can be set on this machine.

    Args:
        selection: devices that take part; those that have levels keep them.

    Returns:
        The selection, and by device that got none, why, with the way out.
    """
    reasons: dict[str, str] = {}
    chosen = []
    for device in selection.chosen:
        backend = selection.backends.get(device.backend)
        if device.levels or isinstance(backend, CostSource):
            chosen.append(device)
            continue
        found, reason = _levels_of(device, backend)
        chosen.append(found)
        if reason:
            reasons[device.name] = reason
    return replace(selection, chosen=tuple(chosen)), reasons


def _levels_of(device: Device, backend: object) -> tuple[Device, str]:
    if device.host:
        return device, "it belongs to another machine, whose frequencies are not set from here"
    if not isinstance(backend, SetsLevels):
        return device, f"backend {device.backend} sets no frequencies"
    offer = backend.offered_levels(device)
    return replace(device, levels=offer.levels), offer.why_not
