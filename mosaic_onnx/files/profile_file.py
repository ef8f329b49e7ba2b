"""The profile's JSON form (``mosaic-onnx/profile/1``): read strictly; equal profiles give equal bytes."""

# ruff: noqa: RUF012 (pydantic gives every object its own copy of a mutable default)

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import (
    Link,
    MeasuredSlice,
    Profile,
    ProfileLayer,
    SwitchCost,
    TransferCost,
)
from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.files.device_entries import DeviceEntry
from mosaic_onnx.files.profile_checks import check_profile
from mosaic_onnx.files.records import ALWAYS, to_entry, to_record
from mosaic_onnx.files.strict_json import (
    ByteCount,
    Factor,
    FileModel,
    Index,
    Name,
    NonNegative,
    dump_lines,
    parse,
    read,
)

SCHEMA = "mosaic-onnx/profile/1"


class _Cost(FileModel):
    seconds: NonNegative
    joules: NonNegative | None = None
    parameter_bytes: ByteCount | None = None
    workspace_bytes: ByteCount | None = None
    activation_bytes: ByteCount | None = None
    error: NonNegative | None = None
    seconds_std: NonNegative = 0.0
    source: Literal["measured", "modelled", "simulated"] = "measured"


class _Layer(FileModel):
    name: Name
    inputs: Annotated[list[Name], ALWAYS] = []
    outputs: Annotated[list[Name], ALWAYS] = []
    parameter_bytes: ByteCount = 0
    workspace_bytes: ByteCount = 0
    activation_bytes: ByteCount | None = None
    group: Annotated[str, BeforeValidator(lambda value: "" if value is None else value)] = ""
    allowed: Annotated[list[Name] | None, AfterValidator(lambda value: value or None)] = None
    cost: Annotated[dict[str, _Cost | None], ALWAYS] = {}
    reasons: dict[str, str] = {}
    nodes: list[str] = []
    op_types: list[str] = []


class _TensorCopy(FileModel):
    seconds: NonNegative | None = None
    joules: NonNegative | None = None


class _Copy(FileModel):
    source: Name = Field(alias="from")
    destination: Name = Field(alias="to")
    seconds_per_byte: Annotated[NonNegative, ALWAYS] = 0.0
    seconds: Annotated[NonNegative, ALWAYS] = 0.0
    joules_per_byte: NonNegative = 0.0
    joules: NonNegative = 0.0
    tensors: dict[str, _TensorCopy] = {}


class _Link(FileModel):
    between: Annotated[list[Name], Field(min_length=2, max_length=2)]
    seconds_per_byte: Annotated[NonNegative, ALWAYS] = 0.0
    seconds: Annotated[NonNegative, ALWAYS] = 0.0
    joules_per_byte: NonNegative = 0.0
    joules: NonNegative = 0.0
    tensors: dict[str, _TensorCopy] = {}


class _LayerSwitch(FileModel):
    seconds: NonNegative | None = None
    joules: NonNegative | None = None


class _Switch(FileModel):
    device: Name
    source: Name = Field(alias="from")
    destination: Name = Field(alias="to")
    seconds: Annotated[NonNegative, ALWAYS] = 0.0
    joules: Annotated[NonNegative, ALWAYS] = 0.0
    layers: dict[Name, _LayerSwitch] = {}


class _Segment(FileModel):
    first: Index
    last: Index
    state: Name
    seconds: NonNegative
    joules: NonNegative | None = None
    seconds_std: NonNegative = 0.0


class _Tensor(FileModel):
    bytes: ByteCount


class _Model(FileModel):
    name: str = ""
    sha256: str | None = None


class _File(FileModel):
    schema_: Literal["mosaic-onnx/profile/1"] = Field(alias="schema")
    model: _Model = _Model()
    devices: list[DeviceEntry] = []
    tensors: dict[Name, _Tensor] = {}
    inputs: list[Name] = []
    outputs: list[Name] = []
    layers: list[_Layer] = []
    copies: list[_Copy] = []
    switches: list[_Switch] = []
    segments: list[_Segment] = []
    copies_occupy_device: bool = False
    exclusive: list[Annotated[list[Name], Field(min_length=2, max_length=2)]] = []
    links: list[_Link] = []
    slowdowns: dict[Name, dict[Name, Factor]] = {}


def profile_schema() -> dict[str, Any]:
    """Return the JSON Schema of a profile file."""
    return _File.model_json_schema(by_alias=True)


def read_profile(path: str | os.PathLike[str]) -> Profile:
    """Read a profile file.

    Raises:
        ModelError: it is missing or wrong; the message names the path of the key.
    """
    return profile_from_json(*read(path))


def write_profile(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Write a profile file atomically; equal profiles give equal bytes.

    Raises:
        ModelError: something in the profile does not fit together.
        UsageError: the file cannot be written.
    """
    write_atomically(path, profile_to_json(profile).encode())


def profile_from_json(text: str, what: str = "profile") -> Profile:
    """Return the profile in a JSON text; ``what`` is what errors call it.

    Raises:
        ModelError: naming the path of the key that is wrong.
    """
    file = parse(text, _File, SCHEMA, what)
    profile = Profile(
        model_name=file.model.name,
        model_sha256=file.model.sha256,
        model_meta=file.model.meta,
        # Without options: an untrusted file must not name a library for a backend to load. The options stay in
        # ``meta.options``, which nothing reads.
        devices=tuple(to_record(device, Device) for device in file.devices),
        tensor_bytes={name: tensor.bytes for name, tensor in file.tensors.items()},
        tensor_meta={name: tensor.meta for name, tensor in file.tensors.items() if tensor.meta},
        inputs=tuple(file.inputs),
        outputs=tuple(file.outputs),
        layers=tuple(to_record(layer, ProfileLayer) for layer in file.layers),
        copies=tuple(to_record(copy, TransferCost) for copy in file.copies),
        switches=tuple(to_record(switch, SwitchCost) for switch in file.switches),
        segments=tuple(to_record(segment, MeasuredSlice) for segment in file.segments),
        copies_occupy_device=file.copies_occupy_device,
        exclusive=tuple((one, other) for one, other in file.exclusive),
        links=tuple(to_record(link, Link) for link in file.links),
        slowdowns=file.slowdowns,
        meta=file.meta,
    )
    return check_profile(profile, what)


def profile_to_json(profile: Profile) -> str:
    """Return the JSON text of a profile, without keys at their default.

    Raises:
        ModelError: something in the profile does not fit together.
        UsageError: a number is NaN or infinite.
    """
    return dump_lines(_fields(profile))


def profile_to_fields(profile: Profile) -> dict[str, object]:
    """Return the JSON object of a profile, as ``profile_to_json`` writes it.

    Raises:
        ModelError: something in the profile does not fit together.
    """
    fields = _fields(profile)
    return fields | {"layers": [_layer_entry(layer) for layer in profile.layers]}


def _fields(profile: Profile) -> dict[str, object]:
    """Return the JSON object; its layers are an iterator, since those of a large model would fill memory."""
    check_profile(profile)
    content: dict[str, object] = {
        "schema": SCHEMA,
        "model": {"name": profile.model_name} | _given(sha256=profile.model_sha256, meta=dict(profile.model_meta)),
        "devices": [_device_entry(device) for device in profile.devices],
        "tensors": {
            name: {"bytes": count} | _given(meta=dict(profile.tensor_meta.get(name, {})))
            for name, count in profile.tensor_bytes.items()
        },
        "inputs": list(profile.inputs),
        "outputs": list(profile.outputs),
        "layers": map(_layer_entry, profile.layers),
        "copies": [to_entry(copy, _Copy) for copy in profile.copies],
        "switches": [to_entry(switch, _Switch) for switch in profile.switches],
        "segments": [to_entry(segment, _Segment) for segment in profile.segments],
        "copies_occupy_device": profile.copies_occupy_device,
    }
    pairs = [list(pair) for pair in profile.exclusive]
    links = [to_entry(link, _Link) for link in profile.links]
    slowdowns = {device: dict(row) for device, row in profile.slowdowns.items()}
    return content | _given(exclusive=pairs, links=links, slowdowns=slowdowns, meta=dict(profile.meta))


def _given(**optional: object) -> dict[str, object]:
    """Return the keys whose values are not empty."""
    return {key: value for key, value in optional.items() if value}


def _device_entry(device: Device) -> dict[str, object]:
    options = {"options": dict(device.options)} if device.options else {}
    return to_entry(replace(device, meta={**device.meta, **options}), DeviceEntry)


def _layer_entry(layer: ProfileLayer) -> dict[str, object]:
    if layer.allowed == ():
        raise UsageError(f"layer {layer.name}: no device is allowed, which the file cannot say", "leave out its costs")
    return to_entry(layer, _Layer)
