"""``npu.toml`` (``mosaic-onnx/npu/1``): an NPU described by the user or shipped with the package, read strictly."""

from __future__ import annotations

import os
from importlib import resources
from typing import Annotated, Literal

from pydantic import Field

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.files.strict_json import ByteCount, FileModel, Name, NonNegative, read, validated
from mosaic_onnx.files.toml_text import load_toml
from mosaic_onnx.npu.hardware import description as described

SCHEMA = "mosaic-onnx/npu/1"
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=2**20)]
ElementBytes = Annotated[int, Field(ge=1, le=8)]
PartBytes = Annotated[int, Field(ge=1, le=2**40)]
Loop = Literal["N", "K", "C", "P", "Q", "R", "S"]
EVERY_LOOP: tuple[Loop, ...] = ("N", "K", "C", "P", "Q", "R", "S")


class _Array(FileModel):
    rows: Count
    columns: Count
    row_unroll: list[Loop] = Field(list(EVERY_LOOP), min_length=1)
    column_unroll: list[Loop] = Field(list(EVERY_LOOP), min_length=1)
    fold: bool = True


class _Precision(FileModel):
    name: Literal["int8", "int16", "f16", "bf16", "f32"]
    weight_bytes: ElementBytes
    activation_bytes: ElementBytes
    partial_sum_bytes: ElementBytes


class _Buffer(FileModel):
    bytes: PartBytes | None = None
    weight_bytes: PartBytes | None = None
    activation_bytes: PartBytes | None = None
    output_bytes: PartBytes | None = None
    double_buffering: Literal["optional", "always", "never"] = "optional"
    bytes_per_cycle: Positive


class _Dram(FileModel):
    bytes_per_cycle: Positive
    latency_cycles: Annotated[int, Field(ge=0)] = 0
    burst_bytes: Count = 1


class _Vector(FileModel):
    lanes: Count
    depthwise_macs_per_cycle: Count | None = None


class _Energy(FileModel):
    mac_j: NonNegative
    register_j_per_byte: NonNegative
    buffer_j_per_byte: NonNegative
    dram_j_per_byte: NonNegative
    vector_j: NonNegative
    static_w: NonNegative = 0.0


class _Operators(FileModel):
    depthwise: Literal["native", "vector", "densified"] = "native"
    refused: dict[str, str] = Field({})


class _Link(FileModel):
    bytes_per_second: Positive
    latency_s: NonNegative = 0.0
    resident: bool = True


class _Area(FileModel):
    pe_mm2: NonNegative
    buffer_mm2_per_byte: NonNegative
    fixed_mm2: NonNegative = 0.0


class _File(FileModel):
    schema_: Literal["mosaic-onnx/npu/1"] = Field(alias="schema")
    name: Name
    summary: str = ""
    clock_hz: Positive
    launch_s: NonNegative = 0.0
    reconfiguration_s: NonNegative = 0.0
    register_bytes: ByteCount = 0
    slice_bytes: ByteCount | None = None
    array: _Array
    precision: _Precision
    buffer: _Buffer
    dram: _Dram
    vector: _Vector
    energy: _Energy
    operators: _Operators = Field(default_factory=lambda: _Operators.model_validate({}))
    link: _Link
    area: _Area | None = None


def npu_schema() -> dict[str, object]:
    """Return the JSON schema of ``npu.toml``."""
    return _File.model_json_schema(by_alias=True)


def preset_names() -> tuple[str, ...]:
    """Return the names of the shipped descriptions, sorted."""
    folder = resources.files("mosaic_onnx.npu.hardware") / "presets"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def preset_text(name: str) -> str:
    """Return the TOML text of a shipped description.

    Raises:
        UsageError: no preset has this name.
    """
    if name not in preset_names():
        raise UsageError(
            f"no NPU is called {name!r}", f"one of {', '.join(preset_names())}, or the path of an npu.toml"
        )
    return (resources.files("mosaic_onnx.npu.hardware") / "presets" / f"{name}.toml").read_text(encoding="utf-8")


def load_hardware(name_or_path: str | os.PathLike[str]) -> described.Hardware:
    """Load an NPU: a shipped one by name, or any by the path of its ``npu.toml``.

    Args:
        name_or_path: a preset's name, or a path (it ends in ``.toml`` or names a file that is there).

    Raises:
        UsageError: no preset has this name and no file is there.
        ModelError: the file is not TOML, or a key is wrong; the message names the key's path.
    """
    word = os.fspath(name_or_path)
    if word.endswith(".toml") or os.sep in word:
        text, name = read(word)
        return hardware_from_toml(text, name)
    return hardware_from_toml(preset_text(word), f"{word}.toml")


def hardware_from_toml(text: str, what: str = "npu.toml") -> described.Hardware:
    """Read an NPU from TOML text.

    Args:
        text: the TOML text.
        what: what to call it in errors.

    Raises:
        ModelError: not TOML, an unknown key, a missing or impossible value; the message names the key's path.
    """
    file = validated(load_toml(text, what), _File, SCHEMA, what)
    _check_buffer(file.buffer, what)
    return _hardware(file)


def _check_buffer(buffer: _Buffer, what: str) -> None:
    """Refuse a buffer that is both shared and split, or neither."""
    is_split = buffer.weight_bytes is not None and buffer.activation_bytes is not None
    has_part = any(part is not None for part in (buffer.weight_bytes, buffer.activation_bytes, buffer.output_bytes))
    if (buffer.bytes is not None and has_part) or (buffer.bytes is None and not is_split):
        raise ModelError(
            f"{what}: buffer: give either bytes (shared by all operands) or weight_bytes and activation_bytes",
            "output_bytes may be added to a split buffer; without it outputs share the activations' part",
        )


def _hardware(file: _File) -> described.Hardware:
    array = file.array
    return described.Hardware(
        name=file.name,
        summary=file.summary,
        clock_hz=file.clock_hz,
        array=described.Array(
            array.rows,
            array.columns,
            _in_order(array.row_unroll),
            _in_order(array.column_unroll),
            array.fold,
        ),
        precision=described.Precision(**file.precision.model_dump(exclude={"meta"})),
        register_bytes=file.register_bytes,
        buffer=described.Buffer(**file.buffer.model_dump(exclude={"meta"})),
        dram=described.Dram(**file.dram.model_dump(exclude={"meta"})),
        vector=described.Vector(**file.vector.model_dump(exclude={"meta"})),
        energy=described.Energy(**file.energy.model_dump(exclude={"meta"})),
        operators=described.Operators(file.operators.depthwise, dict(file.operators.refused)),
        link=described.Link(**file.link.model_dump(exclude={"meta"})),
        launch_s=file.launch_s,
        reconfiguration_s=file.reconfiguration_s,
        slice_bytes=file.slice_bytes,
        area=None if file.area is None else described.Area(**file.area.model_dump(exclude={"meta"})),
    )


def _in_order(loops: list[Loop]) -> tuple[str, ...]:
    """Drop repetitions and put the loops in the order of ``DIMENSIONS``, so that equal arrays compare equal."""
    return tuple(loop for loop in described.DIMENSIONS if loop in loops)
