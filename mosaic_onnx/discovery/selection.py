"""Which devices take part, told with what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mosaic_onnx.backends.base import AbsentDevice, Backend
from mosaic_onnx.core.devices import Device
from mosaic_onnx.discovery.registry import backends, find_all, left_out, select_devices
from mosaic_onnx.isolation.backend import isolated


@dataclass(frozen=True)
class Selection:
    """Devices and backends of one command.

    Attributes:
        devices: everything that is here.
        chosen: what takes part.
        left_out: what is here and does not take part, with the reason.
        absent: what is not here, with the reason.
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
        """Devices that take part, by name."""
        return {device.name: device for device in self.chosen}


def select(words: Sequence[str] = (), precision: str = "f32", *, lower: bool = False) -> Selection:
    """Find what is here and choose among it.

    Args:
        words: device names, ``devices.toml`` files or shipped descriptions; none for the default set.
        precision: the model's own.
        lower: a budget of errors lets devices of lower precision take part too.

    Raises:
        UsageError: a word names nothing.
        ModelError: a devices file is wrong.
    """
    candidates = isolated(backends())
    found = find_all(candidates)
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
