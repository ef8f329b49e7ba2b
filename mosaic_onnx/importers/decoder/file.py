"""The files of a described decoder (``mosaic-onnx/decoder/1``) and a described machine (``mosaic-onnx/machine/1``)."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.files.strict_json import ByteCount, Count, FileModel, Name, NonNegative, read, validated
from mosaic_onnx.files.toml_text import load_toml

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Experts(FileModel):
    """The routed feed-forward networks of a block."""

    count: Count
    active: Count
    """of them run for each token"""
    dimension: Count
    shared_dimension: Annotated[int, Field(ge=0)] = 0
    """of the network that every token passes"""


class Decoder(FileModel):
    """A decoder-only transformer: grouped attention, a gated feed-forward network or experts."""

    schema_: Literal["mosaic-onnx/decoder/1"] = Field(alias="schema")
    name: Name
    source: Name
    block_count: Count
    hidden: Count
    head_count: Count
    kv_head_count: Count
    head_dimension: Count
    vocabulary: Count
    feed_forward: Count | None = None
    experts: Experts | None = None
    bits_per_weight: Positive = 16.0
    bytes_per_activation: Positive = 2.0


class MachineDevice(FileModel):
    """A device by the rates that its maker publishes."""

    name: Name
    source: Name
    flops_per_s: Positive
    bytes_per_s: Positive
    memory_bytes: ByteCount | None = None
    layer_seconds: NonNegative = 0.0
    """added to every layer: the launch of its kernels"""
    link_bytes_per_s: Positive | None = None
    """to and from host; absent where it works in host's memory"""
    link_seconds: NonNegative = 0.0


class Machine(FileModel):
    """Devices that share a host."""

    schema_: Literal["mosaic-onnx/machine/1"] = Field(alias="schema")
    name: Name
    devices: list[MachineDevice] = Field(min_length=1)


def decoder_schema() -> dict[str, Any]:
    """Return the JSON Schema of a described decoder."""
    return Decoder.model_json_schema(by_alias=True)


def machine_schema() -> dict[str, Any]:
    """Return the JSON Schema of a described machine."""
    return Machine.model_json_schema(by_alias=True)


def presets(kind: Literal["decoder", "machine"]) -> tuple[str, ...]:
    """Return the names of the shipped descriptions of a kind."""
    folder = resources.files(__package__).joinpath("presets")
    names = sorted(each.name for each in folder.iterdir())
    return tuple(one.removesuffix(f".{kind}.toml") for one in names if one.endswith(f".{kind}.toml"))


def read_decoder(path: Path | str) -> Decoder:
    """Return a described decoder, from a file or a shipped name (``llama-3.1-8b``).

    Raises:
        ModelError: the file is missing or wrong; the message names the key's path.
    """
    content, what = _content(path, "decoder")
    decoder = validated(content, Decoder, "mosaic-onnx/decoder/1", what)
    if (decoder.feed_forward is None) == (decoder.experts is None):
        raise ModelError(f"{what}: give feed_forward or experts, one of the two", "experts for a mixture of experts")
    if decoder.experts is not None and decoder.experts.active > decoder.experts.count:
        raise ModelError(f"{what}: experts.active is {decoder.experts.active} of {decoder.experts.count}")
    return decoder


def read_machine(path: Path | str) -> Machine:
    """Return a described machine, from a file or a shipped name (``desktop-8gb``).

    Raises:
        ModelError: the file is missing or wrong; the message names the key's path.
    """
    content, what = _content(path, "machine")
    machine = validated(content, Machine, "mosaic-onnx/machine/1", what)
    names = [device.name for device in machine.devices]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ModelError(f"{what}: two devices are called {twice!r}")
    return machine


def _content(path: Path | str, kind: Literal["decoder", "machine"]) -> tuple[object, str]:
    """Return the parsed TOML of a file or a shipped description, and what to call it."""
    known = presets(kind)
    if str(path) in known and not Path(path).exists():
        file = resources.files(__package__).joinpath("presets", f"{path}.{kind}.toml")
        text, what = file.read_text(encoding="utf-8"), f"{path}.{kind}.toml"
    else:
        if not Path(path).exists() and not Path(path).suffix:
            raise UsageError(f"there is no {kind} {str(path)!r}", f"a file, or one of: {', '.join(known)}")
        text, what = read(path)
    return load_toml(text, what), what
