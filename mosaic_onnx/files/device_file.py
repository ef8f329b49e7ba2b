"""``devices.toml`` (``mosaic-onnx/devices/1``): devices described by the user or shipped with the package."""

from __future__ import annotations

import os
import tomllib
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
    """The JSON schema of ``devices.toml``."""
    return _File.model_json_schema(by_alias=True)


def read_devices(path: str | os.PathLike[str]) -> tuple[Device, ...]:
    """The devices of a file, in its order.

    Raises:
        ModelError: the file is missing, not TOML, or a key is wrong; the message names the key's path.
    """
    text, name = read(path)
    return devices_from_toml(text, name)


def devices_from_toml(text: str, what: str = "devices.toml") -> tuple[Device, ...]:
    """The devices of a text.

    Args:
        text: the TOML text.
        what: what to call it in errors.

    Raises:
        ModelError: as for ``read_devices``.
    """
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ModelError(f"{what}: not TOML: {error}") from error
    file = validated(content, _File, SCHEMA, what)
    devices = tuple(_device(entry, f"{what}: devices[{index}]") for index, entry in enumerate(file.devices))
    check_device_names(devices, what)
    return devices


def check_device_names(devices: Iterable[Device], what: str) -> None:
    """Refuse names that the profile could not hold.

    Raises:
        ModelError: two devices or two levels share a name, or a name is reserved.
    """
    seen: set[str] = set()
    for device in devices:
        if "@" in device.name or device.name == HOST:
            raise ModelError(f"{what}: no device can be called {device.name!r}", "@ and host are reserved")
        for name in (device.name, *(state for state in device.states if state != device.name)):
            if name in seen:
                raise ModelError(f"{what}: {name!r} stands twice", "give each device, and each of its levels, a name")
            seen.add(name)


def _device(entry: _Device, what: str) -> Device:
    return replace(to_record(entry, Device), options=_flat(entry.options, what))


def _flat(tree: Mapping[str, object], what: str) -> dict[str, OptionValue]:
    """Nested tables as dotted keys, a list as its items joined by commas."""
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
    """The text that ``devices_from_toml`` reads back as the same devices; what stands at its default is left out."""
    import tomli_w

    return tomli_w.dumps({"schema": SCHEMA, "devices": [_in_toml_order(to_entry(one, _Device)) for one in devices]})


def _in_toml_order(entry: dict[str, object]) -> dict[str, object]:
    """Return the entry with its levels and tables last: in TOML whatever follows a table belongs to it."""
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
    """The devices of a description that comes with the package.

    Raises:
        ModelError: there is none of that name.
    """
    if name not in shipped_descriptions():
        raise ModelError(f"no description called {name!r} is shipped", f"shipped: {', '.join(shipped_descriptions())}")
    text = description_text(name)
    return devices_from_toml(text, f"{name}.toml")
