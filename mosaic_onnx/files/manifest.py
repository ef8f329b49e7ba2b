"""The manifest of a bundle (``mosaic-onnx/bundle/1``): its files with their digests, its slices, inputs and outputs."""

# ruff: noqa: RUF012 (pydantic gives every object its own copy of a mutable default)

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import ConfigDict, Field

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.files.atomic import read_text
from mosaic_onnx.files.strict_json import FileModel, Index, load, validated

SCHEMA = "mosaic-onnx/bundle/1"
MODEL, MANIFEST, PLAN, PROFILE, DEVICES = "model.onnx", "manifest.json", "plan.json", "profile.json", "devices.toml"
SLICES, TUNED, ORIGINAL, WEIGHTS = "slices", "tuned", "uncut.onnx", "weights.bin"
REQUIRED = (MODEL, PLAN, PROFILE, DEVICES, f"{SLICES}/{ORIGINAL}", f"{SLICES}/{WEIGHTS}")
"""Files that every bundle holds besides the manifest and the slices."""
_HINT = "compile the model again with this version"


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


class Manifest(FileModel):
    """The keys that reading a bundle relies on; ``files`` gives each file's SHA-256. Other keys are allowed."""

    model_config = ConfigDict(extra="allow")
    schema_: Literal["mosaic-onnx/bundle/1"] = Field(alias="schema")
    files: dict[str, str]
    inputs: list[str]
    outputs: list[str]
    slices: list[SliceEntry]
    tuned: TunedSlices

    def entries(self) -> Iterator[tuple[str, SliceEntry | TunedEntry]]:
        """Yield each entry of a slice with its key's path."""
        yield from ((f"slices[{number}]", entry) for number, entry in enumerate(self.slices))
        yield from ((f"tuned.slices[{number}]", entry) for number, entry in enumerate(self.tuned.slices))


def read_manifest(folder: Path) -> tuple[Manifest, Mapping[str, Any]]:
    """Return the checked manifest of a bundle, and its whole JSON object.

    Raises:
        ModelError: the folder is not a bundle, or its manifest is wrong; the message names the path of the key.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ModelError(f"{folder} is not a bundle: it has no {MANIFEST}", "give a folder that compile wrote")
    try:
        content = load(read_text(path), str(path))
        manifest = validated(content, Manifest, SCHEMA, str(path))
    except ModelError as error:
        raise ModelError(error.message, _HINT) from error
    for key, entry in manifest.entries():
        if entry.file not in manifest.files:
            raise ModelError(f"{path}: {key}.file: {entry.file!r} is not listed in files", _HINT)
    missing = [name for name in REQUIRED if name not in manifest.files]
    if missing:
        raise ModelError(f"{path}: files: {', '.join(missing)} is not listed", _HINT)
    return manifest, cast("Mapping[str, Any]", content)
