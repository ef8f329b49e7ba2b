"""The manifest of a bundle (``mosaic-onnx/bundle/1``): its files with their digests, its slices, inputs and outputs."""

# ruff: noqa: RUF012 (pydantic gives every object its own copy of a mutable default)

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import ConfigDict, Field

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.signature import TensorSpec
from mosaic_onnx.files.atomic import read_text
from mosaic_onnx.files.seal import check_files, seal_of
from mosaic_onnx.files.strict_json import FileModel, Index, load, validated

SCHEMA = "mosaic-onnx/bundle/1"
MODEL, MANIFEST, PLAN, PROFILE, DEVICES = "model.onnx", "manifest.json", "plan.json", "profile.json", "devices.toml"
SLICES, TUNED, ORIGINAL, WEIGHTS = "slices", "tuned", "uncut.onnx", "weights.bin"
REQUIRED = (MODEL, PLAN, PROFILE, DEVICES, f"{SLICES}/{ORIGINAL}", f"{SLICES}/{WEIGHTS}")
"""Files that every bundle holds besides the manifest and the slices."""
_HINT = "compile the model again with this version"


class SpecEntry(FileModel):
    """An input or output of the model, typed in ONNX Runtime's words."""

    name: str
    type: str
    shape: list[int | str | None]

    def to_spec(self) -> TensorSpec:
        """Return the specification as a dataclass."""
        return TensorSpec(self.name, self.type, tuple(self.shape))


class SliceEntry(FileModel):
    """The model of a slice, and the state in which the plan runs it."""

    file: str
    inputs: list[str]
    outputs: list[str]
    state: str = ""


class TunedEntry(FileModel):
    """The optimised model that the compiling machine runs in place of slice number ``slice``."""

    file: str
    inputs: list[str]
    outputs: list[str]
    slice: Index


class TunedSlices(FileModel):
    """The optimised slices, and the fingerprint of the machine and runtimes that they fit."""

    fingerprint: str
    slices: list[TunedEntry] = []


class ShapeEntry(FileModel):
    """The model for further shapes of its inputs: its files bear the names of the first ones after ``shape_prefix``."""

    model_config = ConfigDict(extra="allow")
    inputs: list[SpecEntry]
    outputs: list[SpecEntry]
    slices: list[SliceEntry]
    tuned: list[TunedEntry] = []


def shape_prefix(number: int) -> str:
    """Return the prefix of the files that hold the model for its ``number``-th shapes; empty for the first, 0."""
    return f"shape{number}-" if number else ""


class Manifest(FileModel):
    """The keys that reading a bundle relies on; ``files`` gives each file's SHA-256. Other keys are allowed."""

    model_config = ConfigDict(extra="allow")
    schema_: Literal["mosaic-onnx/bundle/1"] = Field(alias="schema")
    files: dict[str, str]
    inputs: list[SpecEntry]
    outputs: list[SpecEntry]
    slices: list[SliceEntry]
    tuned: TunedSlices
    seal: str
    shapes: list[ShapeEntry] = []

    def entries(self) -> Iterator[tuple[str, SliceEntry | TunedEntry]]:
        """Yield each entry of a slice with its key's path."""
        yield from ((f"slices[{number}]", entry) for number, entry in enumerate(self.slices))
        yield from ((f"tuned.slices[{number}]", entry) for number, entry in enumerate(self.tuned.slices))
        for at, shape in enumerate(self.shapes):
            yield from ((f"shapes[{at}].slices[{number}]", entry) for number, entry in enumerate(shape.slices))
            yield from ((f"shapes[{at}].tuned[{number}]", entry) for number, entry in enumerate(shape.tuned))

    def required(self) -> list[str]:
        """Return the files that must be listed besides the slices."""
        has_tuned = self.tuned.slices or any(shape.tuned for shape in self.shapes)
        names = [*REQUIRED, *([f"{TUNED}/{WEIGHTS}"] if has_tuned else [])]
        for number in range(1, len(self.shapes) + 1):
            prefix = shape_prefix(number)
            names += [f"{prefix}{name}" for name in (MODEL, PLAN, PROFILE)] + [f"{SLICES}/{prefix}{ORIGINAL}"]
        return names


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema of a bundle's manifest, as far as reading it relies on its keys."""
    return Manifest.model_json_schema(by_alias=True)


def read_manifest(folder: Path) -> tuple[Manifest, Mapping[str, Any]]:
    """Return the checked manifest of a bundle, and its whole JSON object; all files have the digests that it states.

    Raises:
        ModelError: the folder is not a bundle, a key of its manifest is wrong (the message names it), the manifest
            or a file was changed, or a file is missing or not the bundle's.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ModelError(f"{folder} is not a bundle: it has no {MANIFEST}", "give a folder that compile wrote")
    try:
        content = cast("Mapping[str, Any]", load(read_text(path), str(path)))
        manifest = validated(content, Manifest, SCHEMA, str(path))
    except ModelError as error:
        raise ModelError(error.message, _HINT) from error
    if manifest.seal != seal_of(content):
        raise ModelError(f"{path} was changed after it was written: its seal is broken", _HINT)
    for key, entry in manifest.entries():
        if entry.file not in manifest.files:
            raise ModelError(f"{path}: {key}.file: {entry.file!r} is not listed in files", _HINT)
    missing = [name for name in manifest.required() if name not in manifest.files]
    if missing:
        raise ModelError(f"{path}: files: {', '.join(missing)} is not listed", _HINT)
    check_files(manifest.files, folder, ("", SLICES, TUNED), MANIFEST)
    return manifest, content
