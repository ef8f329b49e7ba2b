"""The selection of devices that take part, with those left out and the reasons."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mosaic_onnx.backends.base import AbsentDevice, Backend, BrokenBackend
from mosaic_onnx.core.devices import Device
from mosaic_onnx.discovery.registry import backends, find_all, left_out, select_devices, start_all
from mosaic_onnx.isolation.backend import isolated

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """Devices and backends of one command.

    Attributes:
        devices: all devices of this machine.
        chosen: devices that take part.
        left_out: available devices that do not take part, with the reason.
        absent: devices and backends that are not available, with the reason.
        backends: by name.
        versions: of backends, providers and drivers.
    """

    devices: tuple[Device, ...]
    chosen: tuple[Device, ...]
    left_out: tuple[AbsentDevice, ...]
    absent: tuple[AbsentDevice, ...]
    backends: Mapping[str, Backend]
    versions: Mapping[str, str]

    @property
    def by_name(self) -> dict[str, Device]:
        """Return the devices that take part, by name."""
        return {device.name: device for device in self.chosen}


def started_backends() -> dict[str, Backend]:
    """Return all backends, those that can crash this process isolated; the children that know their devices start."""
    candidates = isolated(backends())
    start_all(candidates)
    return candidates


def select(
    words: Sequence[str] = (),
    precision: str = "f32",
    *,
    lower: bool = False,
    candidates: Mapping[str, Backend] | None = None,
) -> Selection:
    """Find the devices of this machine and select those that take part; a backend that breaks meanwhile is told.

    Args:
        words: device names, ``devices.toml`` files or shipped descriptions; none for the default set.
        precision: the model's own.
        lower: devices of lower precision take part too, as an error budget allows.
        candidates: the backends to ask; None for all that are installed.

    Raises:
        UsageError: a word names no device.
        ModelError: a devices file is wrong.
    """
    candidates = isolated(backends()) if candidates is None else candidates
    found = find_all(candidates)
    for one in found.absent:
        if isinstance(one, BrokenBackend):
            _LOG.warning("backend %s is left out: %s", one.name, one.reason)
    chosen = select_devices(words, found, precision, lower=lower)
    everything = {device.name: device for device in (*found.devices.values(), *chosen)}
    return Selection(
        devices=tuple(everything.values()),
        chosen=chosen,
        left_out=left_out(chosen, found, precision),
        absent=found.absent,
        backends=candidates,
        versions=found.versions,
    )


def participation(selection: Selection) -> tuple[str, ...]:
    """Return who takes part in a command, who does not, and why: a line each.

    Devices that are not here at all are left to ``mosaic-onnx devices``.
    """
    names = ", ".join(
        f"{one.name} ({one.precision}{', simulated' if one.simulated else ''})" for one in selection.chosen
    )
    left_out = [f"left out: {one.name}: {one.reason}" for one in selection.left_out if one.reason != "not named"]
    return (f"devices: {names}", *left_out)


def without_devices(selection: Selection, failed: Mapping[str, str]) -> Selection | None:
    """Return the selection without devices that failed.

    Args:
        selection: what took part.
        failed: the reason by device.

    Returns:
        None where none of them took part, or nothing would be left.
    """
    remaining = tuple(device for device in selection.chosen if device.name not in failed)
    if not remaining or len(remaining) == len(selection.chosen):
        return None
    gone = tuple(
        AbsentDevice(device.name, device.backend, failed[device.name])
        for device in selection.chosen
        if device.name in failed
    )
    return replace(selection, chosen=remaining, left_out=(*selection.left_out, *gone))
