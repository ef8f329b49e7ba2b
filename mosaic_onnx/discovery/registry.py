"""The backends and devices of this machine, and the choice of those that take part."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points

import onnx

from mosaic_onnx.backends.base import (
    AbsentDevice,
    Backend,
    BrokenBackend,
    DescribesDevices,
    FoundDevices,
    Memory,
    Runner,
    SliceModel,
    as_devices,
)
from mosaic_onnx.core.devices import Device, names_a_file
from mosaic_onnx.core.errors import BackendError, UsageError
from mosaic_onnx.core.text.suggestions import did_you_mean, same_but_case
from mosaic_onnx.data import shipped_descriptions
from mosaic_onnx.files.device_file import read_devices, read_shipped
from mosaic_onnx.isolation.backend import IsolatedBackend

GROUP = "mosaic_onnx.backends"


@dataclass(frozen=True)
class Inventory:
    """All that the backends found on this machine.

    Attributes:
        devices: by name; the first backend to claim a name keeps it.
        absent: devices and backends that are not available, with the reason.
        versions: versions of backends, providers and drivers.
        describers: by name, backends whose devices are described and named ``BACKEND:DESCRIPTION``.
    """

    devices: Mapping[str, Device] = field(default_factory=dict)
    absent: tuple[AbsentDevice, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    describers: Mapping[str, DescribesDevices] = field(default_factory=dict)


@dataclass(frozen=True)
class Unloadable:
    """A backend whose module cannot be imported: a line in ``mosaic-onnx devices`` instead of a crash."""

    name: str
    reason: str

    def find(self) -> FoundDevices:
        """Return no device, and the reason."""
        return FoundDevices(absent=(AbsentDevice(self.name, self.name, self.reason),))

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """Return the reason why it runs no node."""
        return self.reason

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Raise the reason why it loads nothing.

        Raises:
            BackendError: always.
        """
        raise BackendError(f"device {device.name}: backend {self.name} cannot be loaded: {self.reason}")

    def memory(self, device: Device) -> Memory | None:
        """Return None."""
        return None


def backends() -> dict[str, Backend]:
    """Return all backends by name, from the entry points of the installed packages; never raises."""
    found: dict[str, Backend] = {}
    for point in entry_points(group=GROUP):
        try:
            backend: Backend = point.load()
        except Exception as error:  # another package's module may raise anything
            backend = Unloadable(point.name, f"{type(error).__name__}: {error}")
        found.setdefault(point.name, backend)
    return found


def start_all(candidates: Mapping[str, Backend]) -> None:
    """Start the children of isolated backends that ``find_all`` will ask, and return at once."""
    for backend in candidates.values():
        if isinstance(backend, IsolatedBackend):
            with contextlib.suppress(OSError):  # asking it says what is wrong
                backend.start()


def find_all(candidates: Mapping[str, Backend] | None = None) -> Inventory:
    """Return the devices that every backend finds; never raises.

    Args:
        candidates: the backends to ask; None for all that are installed.
    """
    candidates = backends() if candidates is None else candidates
    start_all(candidates)
    found = [_find(name, backend) for name, backend in candidates.items()]
    versions = {key: version for one in found for key, version in one.versions.items()}
    describers = {name: backend for name, backend in candidates.items() if isinstance(backend, DescribesDevices)}
    return Inventory(as_devices(found), tuple(absent for one in found for absent in one.absent), versions, describers)


def _find(name: str, backend: Backend) -> FoundDevices:
    try:
        return backend.find()
    except Exception as error:  # the contract says that it never raises; another package's backend may break it
        return FoundDevices(absent=(BrokenBackend(name, name, f"its find() failed: {type(error).__name__}: {error}"),))


def select_devices(
    words: Sequence[str], found: Inventory, precision: str = "f32", *, lower: bool = False
) -> tuple[Device, ...]:
    """Return the devices that take part.

    Args:
        words: each a device's name, a path to a ``devices.toml``, the name of a shipped description, one device of it
            (``hikey970:gpu``), or a description of a backend's (``npu:eyeriss``, ``npu:own.toml``); none for the
            default: real devices that compute at least in the model's own precision.
        found: all devices of this machine.
        precision: the model's own.
        lower: devices of lower precision take part too, as an error budget allows.

    Raises:
        UsageError: a word names no device that is available (with the reason), or two devices share a name.
        ModelError: a devices file is wrong.
    """
    if not words:
        default = tuple(device for device in found.devices.values() if _why_not(device, precision, lower=lower) is None)
        if not default:
            raise UsageError("no device takes part by default", "name some: -d; `mosaic-onnx devices` lists them")
        return default
    devices = list(dict.fromkeys(words))
    chosen = [device for word in devices for device in _named(word, found)]
    names = [device.name for device in chosen]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"device {twice!r} is named twice", "rename it in the devices file, or name fewer sources")
    return tuple(chosen)


def left_out(selected: Sequence[Device], found: Inventory, precision: str = "f32") -> tuple[AbsentDevice, ...]:
    """Return the available devices that do not take part, with the reason."""
    names = {device.name for device in selected}
    return tuple(
        AbsentDevice(device.name, device.backend, _why_not(device, precision) or "not named")
        for device in found.devices.values()
        if device.name not in names
    )


def _why_not(device: Device, precision: str, *, lower: bool = False) -> str | None:
    """Return why a device is not in the default set; None where it is.

    Simulators take part only when named, devices of lower precision also under an error budget.
    """
    if device.simulated:
        return f"simulated; name it with -d {device.name}"
    if not lower and device.precision not in (precision, "f32"):
        words = f"computes in {device.precision}, the model in {precision}"
        return f"{words}; name it with -d {device.name}, or give a --max-error"
    return None


def _named(word: str, found: Inventory) -> tuple[Device, ...]:
    """Return what a word names: a device, a file, a description; case does not count where that is clear."""
    if word in found.devices:
        return (found.devices[word],)
    kind, colon, rest = word.partition(":")
    if names_a_file(word) and kind not in found.describers:
        return read_devices(word)
    if colon and kind in found.describers:
        return found.describers[kind].described(rest)
    if colon and kind in shipped_descriptions():
        return (_one_of(read_shipped(kind), rest, kind),)
    shipped, gone = shipped_descriptions(), {each.name: each.reason for each in found.absent}
    known = list(dict.fromkeys([*found.devices, *shipped, *gone]))
    name = word if word in known else same_but_case(word, known) or word
    if name in found.devices:
        return (found.devices[name],)
    if name in shipped:
        return read_shipped(name)
    if name in gone:
        raise UsageError(f"device {name!r} is not here: {gone[name]}", "mosaic-onnx devices lists what is here")
    described = (f"{one}:{each}" for one, backend in found.describers.items() for each in backend.descriptions())
    offered = [*found.devices, *shipped, *described]
    raise UsageError(f"no device, devices file or description is called {word!r}", did_you_mean(word, offered))


def _one_of(devices: Sequence[Device], name: str, description: str) -> Device:
    """Return one device of a shipped description.

    Raises:
        UsageError: it has no device of this name.
    """
    found = next((device for device in devices if device.name == name), None)
    if found is None:
        has = ", ".join(device.name for device in devices)
        raise UsageError(f"the description {description} has no device {name!r}", f"it has {has}")
    return found
