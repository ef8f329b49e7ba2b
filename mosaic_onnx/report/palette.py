"""Colours of devices and states: Okabe and Ito's, which colour-blind readers tell apart, on light and dark ground."""

from __future__ import annotations

from collections.abc import Sequence

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.profiles import HOST

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8a900")
HOST_COLOUR = "#8a8a8a"


def colour_of(place: str, device_names: Sequence[str]) -> str:
    """Return the colour of a device, a state, or host."""
    device = device_of(place)
    if device == HOST or device not in device_names:
        return HOST_COLOUR
    return COLOURS[device_names.index(device) % len(COLOURS)]
