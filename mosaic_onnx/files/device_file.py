"""``devices.toml`` (``mosaic-onnx/devices/1``): devices described by the user or shipped with the package."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from pydantic import Field

from mosaic_onnx.core.devices import Device, OptionValue
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.profiles import HOST
from mosaic_onnx.data import description_text, shipped_descriptions
from mosaic_onnx.files.atomic import refuse_to_replace, write_atomically
from mosaic_onnx.files.device_entries import DeviceEntry
from mosaic_onnx.files.records import to_entry, to_record
from mosaic_onnx.files.strict_json import FileModel, Name, read, validated
from mosaic_onnx.files.toml_text import load_toml

SCHEMA = "mosaic-onnx/devices/1"


class _Device(DeviceEntry):
    backend: Name = Field(description="onnxruntime, openvino, simulated, or one that a package adds")
    host: str = Field("", description="another machine that it belongs to: ssh://user@board")
    options: dict[str, object] = Field({}, description="the backend's own; nested tables and lists of plain values")


class _File(FileModel):
    """Devices that take part together."""

    schema_: Literal["mosaic-onnx/devices/1"] = Field(alias="schema")
    devices: list[_Device] = Field(min_length=1)


def devices_schema() -> dict[str, object]:
    """Return the JSON schema of ``devices.toml``."""
    return _File.model_json_schema(by_alias=True)


def read_devices(path: str | os.PathLike[str]) -> tuple[Device, ...]:
    """Return the devices of a file, in its order.

    Raises:
        ModelError: the file is missing, not TOML, or a key is wrong; the message names the key's path.
    """
    text, name = read(path)
    return devices_from_toml(text, name)


def devices_from_toml(text: str, what: str = "devices.toml") -> tuple[Device, ...]:
    """Return the devices of a text.

    Args:
        text: the TOML text.
        what: what to call it in errors.

    Raises:
        ModelError: as for ``read_devices``.
    """
    file = validated(load_toml(text, what), _File, SCHEMA, what)
    devices = tuple(_device(entry, f"{what}: devices[{index}]") for index, entry in enumerate(file.devices))
    check_device_names(devices, what)
    return devices


def check_device_names(devices: Iterable[Device], what: str) -> None:
    """Raise ``ModelError`` for names of devices and levels that a profile cannot hold.

    Raises:
        ModelError: two devices or two levels share a name, or a name is reserved.
    """
    seen: set[str] = set()
    for device in devices:
        if "@" in device.name or device.name == HOST:
            raise ModelError(f"{what}: no device can be called {device.name!r}", "@ and host are reserved")
        for name in (device.name, *(state for state in device.states if state != device.name)):
            if name in seen:
                raise ModelError(f"{what}: {name!r} occurs twice", "give every device and level its own name")
            seen.add(name)


def _device(entry: _Device, what: str) -> Device:
    return replace(to_record(entry, Device), options=_flat(entry.options, what))


def _flat(tree: Mapping[str, object], what: str) -> dict[str, OptionValue]:
    """Return options with nested tables as dotted keys, and each list as its items joined by commas."""
    options: dict[str, OptionValue] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            options.update({f"{key}.{inner}": each for inner, each in _flat(value, f"{what}.{key}").items()})
        elif isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
            options[key] = ",".join(str(item) for item in value)
        elif isinstance(value, str | int | float | bool):
            options[key] = value
        else:
            raise ModelError(f"{what}.options.{key}: an option is text, a number, true or false, or a list of these")
    return options


def devices_to_toml(devices: Iterable[Device]) -> str:
    """Return the text that ``devices_from_toml`` reads back as the same devices, without keys at their default."""
    import tomli_w

    return tomli_w.dumps({"schema": SCHEMA, "devices": [_in_toml_order(to_entry(one, _Device)) for one in devices]})


def _in_toml_order(entry: dict[str, object]) -> dict[str, object]:
    """Return the entry with its levels and tables last: in TOML the keys after a table header belong to the table."""
    tables = {key: entry.pop(key) for key in ("levels", "options", "meta") if key in entry}
    return entry | tables


def write_devices(devices: Iterable[Device], path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write ``devices.toml`` atomically.

    Raises:
        UsageError: the file exists and ``force`` is off, or the folder is missing or cannot be written.
    """
    refuse_to_replace(path, force=force)
    write_atomically(path, devices_to_toml(devices).encode())


def read_shipped(name: str) -> tuple[Device, ...]:
    """Return the devices of a shipped description.

    Raises:
        ModelError: no description has that name.
    """
    if name not in shipped_descriptions():
        raise ModelError(f"no description called {name!r} is shipped", f"shipped: {', '.join(shipped_descriptions())}")
    text = description_text(name)
    return devices_from_toml(text, f"{name}.toml")
