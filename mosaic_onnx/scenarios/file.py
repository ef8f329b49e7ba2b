"""The scenario's TOML form (``mosaic-onnx/scenario/1``), read strictly."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.files.strict_json import FileModel, Name, NonNegative, read, validated
from mosaic_onnx.files.toml_text import load_toml
from mosaic_onnx.scenarios.scenario import Group, ModelEntry, Scenario

SCHEMA = "mosaic-onnx/scenario/1"
_MODEL_SUFFIXES = (".profile.json", ".json", ".onnx")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
LONGEST_MS = 1e12
Milliseconds = Annotated[float, Field(ge=1e-6, le=LONGEST_MS, allow_inf_nan=False)]
"""From a nanosecond to 30 years: searches multiply periods until they hold; one of nearly nothing never would."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Model(FileModel):
    """A model with a name of its own, or given as a profile."""

    model: Name | None = None
    profile: Name | None = None
    name: Name | None = None


def _as_table(entry: object) -> object:
    """Return the table of a model that is given by its file's name alone."""
    if isinstance(entry, str):
        return {"model": entry}
    if not isinstance(entry, dict):
        raise PydanticCustomError("model_entry", "must be a file's name or a table")
    return entry


_ModelEntry = Annotated[_Model, BeforeValidator(_as_table, json_schema_input_type=Name | _Model)]


class _Group(FileModel):
    """Models requested together; times in milliseconds."""

    name: Name
    models: list[_ModelEntry] = Field(min_length=1)
    period_ms: Milliseconds
    deadline_ms: Milliseconds | None = None
    jitter_ms: Annotated[NonNegative, Field(le=LONGEST_MS)] = 0.0
    weight: Positive = 1.0
    allowed_drop_share: Share | None = None


class _File(FileModel):
    """A scenario."""

    schema_: Literal["mosaic-onnx/scenario/1"] = Field(alias="schema")
    drop: Literal["late", "never"] = "late"
    accelerator: Name | None = None
    groups: list[_Group] = Field(min_length=1)


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file."""
    return _File.model_json_schema(by_alias=True)


def read_scenario(path: str | os.PathLike[str]) -> Scenario:
    """Read a scenario file; its models' paths are relative to its folder.

    Raises:
        ModelError: it is missing, not TOML, or a key is wrong; the message names the key's path.
    """
    text, name = read(path)
    return scenario_from_toml(text, name, Path(path).parent)


def scenario_from_toml(text: str, what: str = "scenario", folder: Path = Path()) -> Scenario:
    """Return the scenario in a TOML text.

    Args:
        text: the TOML text.
        what: what to call it in errors.
        folder: what relative paths of models are relative to.

    Raises:
        ModelError: as ``read_scenario``.
    """
    file = validated(load_toml(text, what), _File, SCHEMA, what)
    _refuse_repeated(f"{what}: ", "groups", (group.name for group in file.groups))
    groups = tuple(_group(group, f"{what}: groups[{g}]", folder) for g, group in enumerate(file.groups))
    return Scenario(groups, file.drop, file.accelerator)


def _group(group: _Group, path: str, folder: Path) -> Group:
    entries = tuple(_entry(model, f"{path}.models[{m}]", folder) for m, model in enumerate(group.models))
    _refuse_repeated(f"{path}.", "models", (entry.name for entry in entries))
    if "/" in group.name:
        raise ModelError(f"{path}.name: names of groups hold no '/', which joins them with models: {group.name!r}")
    return Group(
        name=group.name,
        models=entries,
        period_s=group.period_ms / 1e3,
        deadline_s=(group.period_ms if group.deadline_ms is None else group.deadline_ms) / 1e3,
        jitter_s=group.jitter_ms / 1e3,
        weight=group.weight,
        allowed_drop_share=group.allowed_drop_share,
    )


def _entry(model: _Model, path: str, folder: Path) -> ModelEntry:
    if (model.model is None) == (model.profile is None):
        raise ModelError(f'{path}: give either model = "FILE.onnx" or profile = "FILE.profile.json"')
    file = model.profile or model.model or ""
    return ModelEntry(model.name or _stem(file), folder / file, is_profile=model.profile is not None)


def _stem(file: str) -> str:
    """Return the file's name without what says its kind."""
    name = Path(file).name
    return next((name.removesuffix(suffix) for suffix in _MODEL_SUFFIXES if name.endswith(suffix)), name)


def _refuse_repeated(path: str, key: str, names: Iterable[str]) -> None:
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        before = seen.setdefault(name, number)
        if before != number:
            raise ModelError(f"{path}{key}[{number}].name: {name!r} stands at {key}[{before}] already")
