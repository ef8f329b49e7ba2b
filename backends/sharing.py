"""Devices that share the processor's cores, and so never run at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol, runtime_checkable

from mosaic_onnx.backends.base import Backend
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.process.cpu_cores import usable_cores


@dataclass(frozen=True)
class CoreUse:
    """The processor cores that a device works on.

    Attributes:
        thread_count: how many of them it keeps busy.
        cores: those that it is held on; empty where the operating system places its threads.
    """

    thread_count: int
    cores: tuple[int, ...] = ()


@runtime_checkable
class UsesCores(Protocol):
    """A backend some of whose devices are the processor itself."""

    def core_use(self, device: Device) -> CoreUse | None:
        """Return the cores that the device works on; None for a device that is no processor."""


def exclusive_pairs(
    devices: Iterable[Device], backends: Mapping[str, Backend], core_count: int | None = None
) -> tuple[tuple[str, str], ...]:
    """Return the pairs of devices that would take each other's cores, in the order of the devices.

    Two devices held on cores exclude each other where they share one; otherwise where their threads together are more
    than there are cores.

    Args:
        devices: those that take part.
        backends: by name.
        core_count: of this machine; None for the cores that this process may use.
    """
    count = len(usable_cores()) if core_count is None else core_count
    uses = [(device.name, use) for device in devices if (use := _core_use(device, backends)) is not None]
    return tuple((a, b) for (a, one), (b, other) in combinations(uses, 2) if _collide(one, other, count))


def _core_use(device: Device, backends: Mapping[str, Backend]) -> CoreUse | None:
    backend = backends.get(device.backend)
    if device.host or not isinstance(backend, UsesCores):
        return None
    return backend.core_use(device)


def _collide(one: CoreUse, other: CoreUse, core_count: int) -> bool:
    if one.cores and other.cores:
        return bool(set(one.cores) & set(other.cores))
    return one.thread_count + other.thread_count > core_count
