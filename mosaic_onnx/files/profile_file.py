"""The profile's JSON form (``mosaic-onnx/profile/1``): read strictly; equal profiles give equal bytes."""

# ruff: noqa: RUF012 (pydantic gives every object its own copy of a mutable default)

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import (
    Cost,
    MeasuredSlice,
    Profile,
    ProfileLayer,
    SwitchCost,
    TensorTransferCost,
    TransferCost,
)
from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.files.profile_checks import check_profile
from mosaic_onnx.files.strict_json import ByteCount, FileModel, Index, Name, NonNegative, dump_lines, parse, read

SCHEMA = "mosaic-onnx/profile/1"


class _Level(FileModel):
    name: Name
    frequency_hz: NonNegative = 0.0
    voltage_v: NonNegative = 0.0


class _Device(FileModel):
    name: Name
    backend: str = ""
    precision: str = "f32"
    simulated: bool = False
    levels: list[_Level] = []
    io: Literal["resident", "host"] = "resident"
    slice_seconds: NonNegative = 0.0
    slice_joules: NonNegative = 0.0
    memory_bytes: ByteCount | None = None
    slice_memory_bytes: ByteCount | None = None
    activation_memory: Literal["live", "sum"] = "live"
    idle_w: NonNegative = 0.0


class _Cost(FileModel):
    seconds: NonNegative
    joules: NonNegative | None = None
    parameter_bytes: ByteCount | None = None
    workspace_bytes: ByteCount | None = None
    activation_bytes: ByteCount | None = None
    error: NonNegative | None = None
    source: Literal["measured", "modelled", "simulated"] = "measured"


class _Layer(FileModel):
    name: Name
    inputs: list[Name] = []
    outputs: list[Name] = []
    parameter_bytes: ByteCount = 0
    workspace_bytes: ByteCount = 0
    activation_bytes: ByteCount | None = None
    group: str | None = None
    allowed: list[Name] | None = None
    cost: dict[str, _Cost | None] = {}
    reasons: dict[str, str] = {}
    nodes: list[str] = []
    op_types: list[str] = []


class _TensorCopy(FileModel):
    seconds: NonNegative | None = None
    joules: NonNegative | None = None


class _Copy(FileModel):
    source: Name = Field(alias="from")
    destination: Name = Field(alias="to")
    seconds_per_byte: NonNegative = 0.0
    seconds: NonNegative = 0.0
    joules_per_byte: NonNegative = 0.0
    joules: NonNegative = 0.0
    tensors: dict[str, _TensorCopy] = {}


class _Switch(FileModel):
    device: Name
    source: Name = Field(alias="from")
    destination: Name = Field(alias="to")
    seconds: NonNegative = 0.0
    joules: NonNegative = 0.0


class _Segment(FileModel):
    first: Index
    last: Index
    state: Name
    seconds: NonNegative
    joules: NonNegative | None = None


class _Tensor(FileModel):
    bytes: ByteCount


class _Model(FileModel):
    name: str = ""
    sha256: str | None = None


class _File(FileModel):
    schema_: Literal["mosaic-onnx/profile/1"] = Field(alias="schema")
    model: _Model = _Model()
    devices: list[_Device] = []
    tensors: dict[Name, _Tensor] = {}
    inputs: list[Name] = []
    outputs: list[Name] = []
    layers: list[_Layer] = []
    copies: list[_Copy] = []
    switches: list[_Switch] = []
    segments: list[_Segment] = []
    copies_occupy_device: bool = False


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
    """The profile in a JSON text; ``what`` is what errors call it.

    Raises:
        ModelError: naming the path of the key that is wrong.
    """
    file = parse(text, _File, SCHEMA, what)
    profile = Profile(
        model_name=file.model.name,
        model_sha256=file.model.sha256,
        model_meta=file.model.meta,
        devices=tuple(_device(device) for device in file.devices),
        tensor_bytes={name: tensor.bytes for name, tensor in file.tensors.items()},
        tensor_meta={name: tensor.meta for name, tensor in file.tensors.items() if tensor.meta},
        inputs=tuple(file.inputs),
        outputs=tuple(file.outputs),
        layers=tuple(_layer(layer) for layer in file.layers),
        copies=tuple(_copy(copy) for copy in file.copies),
        switches=tuple(SwitchCost(**dict(switch)) for switch in file.switches),
        segments=tuple(MeasuredSlice(**dict(segment)) for segment in file.segments),
        copies_occupy_device=file.copies_occupy_device,
        meta=file.meta,
    )
    return check_profile(profile, what)


def profile_to_json(profile: Profile) -> str:
    """The JSON text of a profile; keys that have their default are left out.

    Raises:
        ModelError: something in the profile does not fit together.
        UsageError: a number is NaN or infinite.
    """
    return dump_lines(_fields(profile))


def profile_to_fields(profile: Profile) -> dict[str, object]:
    """The JSON object of a profile, as ``profile_to_json`` writes it.

    Raises:
        ModelError: something in the profile does not fit together.
    """
    fields = _fields(profile)
    return fields | {"layers": [_layer_json(layer) for layer in profile.layers]}


def _fields(profile: Profile) -> dict[str, object]:
    """The JSON object, its layers made one by one as they are written: of a large model they would fill memory."""
    check_profile(profile)
    content: dict[str, object] = {
        "schema": SCHEMA,
        "model": _kept({"name": profile.model_name}, sha256=profile.model_sha256, meta=dict(profile.model_meta)),
        "devices": [_device_json(device) for device in profile.devices],
        "tensors": {
            name: _kept({"bytes": count}, meta=dict(profile.tensor_meta.get(name, {})))
            for name, count in profile.tensor_bytes.items()
        },
        "inputs": list(profile.inputs),
        "outputs": list(profile.outputs),
        "layers": map(_layer_json, profile.layers),
        "copies": [_copy_json(copy) for copy in profile.copies],
        "switches": [_switch_json(switch) for switch in profile.switches],
        "segments": [_segment_json(segment) for segment in profile.segments],
        "copies_occupy_device": profile.copies_occupy_device,
    }
    return _kept(content, meta=dict(profile.meta))


def _kept(required: dict[str, object], **optional: object) -> dict[str, object]:
    """``required`` and those of ``optional`` that say something: not None, empty, zero or False."""
    return required | {key: value for key, value in optional.items() if value not in (None, "", 0, [], {}, ())}


def _device(device: _Device) -> Device:
    """A device without options: a file from anywhere must not say which library a backend loads.

    What the backend's options were stays in ``meta.options``, which nothing here reads.
    """
    levels = tuple(Level(**dict(level)) for level in device.levels)
    return Device(**dict(device) | {"levels": levels})


def _layer(layer: _Layer) -> ProfileLayer:
    """A layer; an empty ``allowed`` is the default and means all devices."""
    return ProfileLayer(
        name=layer.name,
        inputs=tuple(layer.inputs),
        outputs=tuple(layer.outputs),
        cost={state: None if cost is None else _cost(cost) for state, cost in layer.cost.items()},
        reasons=layer.reasons,
        parameter_bytes=layer.parameter_bytes,
        workspace_bytes=layer.workspace_bytes,
        activation_bytes=layer.activation_bytes,
        group=layer.group or "",
        allowed=tuple(layer.allowed) if layer.allowed else None,
        nodes=tuple(layer.nodes),
        op_types=tuple(layer.op_types),
        meta=layer.meta,
    )


def _cost(cost: _Cost) -> Cost:
    return Cost(
        cost.seconds,
        cost.joules,
        cost.parameter_bytes,
        cost.workspace_bytes,
        cost.activation_bytes,
        cost.error,
        cost.source,
        cost.meta,
    )


def _copy(copy: _Copy) -> TransferCost:
    tensors = {
        name: TensorTransferCost(tensor.seconds, tensor.joules, tensor.meta) for name, tensor in copy.tensors.items()
    }
    return TransferCost(**dict(copy) | {"tensors": tensors})


def _device_json(device: Device) -> dict[str, object]:
    levels = [
        _kept({"name": level.name}, frequency_hz=level.frequency_hz, voltage_v=level.voltage_v, meta=dict(level.meta))
        for level in device.levels
    ]
    content = _kept({"name": device.name}, backend=device.backend)
    content |= {} if device.precision == "f32" else {"precision": device.precision}
    content |= _kept({}, simulated=device.simulated, levels=levels)
    content |= {} if device.io == "resident" else {"io": device.io}
    content |= _kept({}, slice_seconds=device.slice_seconds, slice_joules=device.slice_joules)
    content |= _given(memory_bytes=device.memory_bytes, slice_memory_bytes=device.slice_memory_bytes)
    content |= {} if device.activation_memory == "live" else {"activation_memory": device.activation_memory}
    options = {"options": dict(device.options)} if device.options else {}
    return content | _kept({}, idle_w=device.idle_w, meta=dict(device.meta) | options)


def _given(**optional: object) -> dict[str, object]:
    """Those that are not None: here zero says something."""
    return {key: value for key, value in optional.items() if value is not None}


def _layer_json(layer: ProfileLayer) -> dict[str, object]:
    if layer.allowed == ():
        raise UsageError(f"layer {layer.name}: no device is allowed, which the file cannot say", "leave out its costs")
    content: dict[str, object] = {"name": layer.name, "inputs": list(layer.inputs), "outputs": list(layer.outputs)}
    content |= _kept({}, parameter_bytes=layer.parameter_bytes, workspace_bytes=layer.workspace_bytes)
    content |= _given(activation_bytes=layer.activation_bytes)
    content |= _kept({}, group=layer.group, allowed=list(layer.allowed or ()))
    content["cost"] = {state: None if cost is None else _cost_json(cost) for state, cost in layer.cost.items()}
    return _kept(
        content,
        reasons=dict(layer.reasons),
        nodes=list(layer.nodes),
        op_types=list(layer.op_types),
        meta=dict(layer.meta),
    )


def _cost_json(cost: Cost) -> dict[str, object]:
    content = {"seconds": cost.seconds} | _given(
        joules=cost.joules,
        parameter_bytes=cost.parameter_bytes,
        workspace_bytes=cost.workspace_bytes,
        activation_bytes=cost.activation_bytes,
        error=cost.error,
    )
    content |= {} if cost.source == "measured" else {"source": cost.source}
    return _kept(content, meta=dict(cost.meta))


def _copy_json(copy: TransferCost) -> dict[str, object]:
    content: dict[str, object] = {"from": copy.source, "to": copy.destination}
    content |= {"seconds_per_byte": copy.seconds_per_byte, "seconds": copy.seconds}
    tensors = {
        name: _kept(_given(seconds=tensor.seconds, joules=tensor.joules), meta=dict(tensor.meta))
        for name, tensor in copy.tensors.items()
    }
    return _kept(
        content, joules_per_byte=copy.joules_per_byte, joules=copy.joules, tensors=tensors, meta=dict(copy.meta)
    )


def _switch_json(switch: SwitchCost) -> dict[str, object]:
    content: dict[str, object] = {"device": switch.device, "from": switch.source, "to": switch.destination}
    return _kept(content | {"seconds": switch.seconds, "joules": switch.joules}, meta=dict(switch.meta))


def _segment_json(segment: MeasuredSlice) -> dict[str, object]:
    content: dict[str, object] = {"first": segment.first, "last": segment.last, "state": segment.state}
    return _kept(content | {"seconds": segment.seconds} | _given(joules=segment.joules), meta=dict(segment.meta))
