"""JSON read strictly: no NaN, no key twice, and every complaint names the key's path."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.files.atomic import read_text

LARGEST_BYTES = 2**48
"""More than any tensor; sums over a whole model still fit 64 bits."""


def _whole(value: object) -> object:
    """``1e8`` is a fine way to write a byte count; ``1.5``, ``true`` and ``"1"`` are not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ByteCount = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=LARGEST_BYTES)]
Index = Annotated[int, BeforeValidator(_whole), Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]
Meta = dict[str, Any]


class FileModel(BaseModel):
    """Base of all objects in our files: unknown keys are errors, types are not bent, ``meta`` may stand anywhere."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)
    meta: Meta = Field(default_factory=dict)


AnyFileModel = TypeVar("AnyFileModel", bound=FileModel)


class _Twice(dict[str, Any]):
    """An object in which a key stands twice."""

    key = ""


def key_path(parts: Iterable[str | int]) -> str:
    """``("layers", 0, "cost", "npu")`` → ``layers[0].cost.npu``."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def parse(text: str, model: type[AnyFileModel], schema: str, what: str) -> AnyFileModel:
    """Parse ``text`` as ``model``.

    Args:
        text: the JSON text.
        model: what it must be.
        schema: the value that its ``schema`` key must have.
        what: what to call it in errors (``profile tiny.json``).

    Raises:
        ModelError: naming the path of the key that is wrong.
    """
    return validated(load(text, what), model, schema, what)


def validated(content: object, model: type[AnyFileModel], schema: str, what: str) -> AnyFileModel:
    """Content that was read (from JSON, or from TOML) as ``model``; arguments and errors as for ``parse``."""
    if not isinstance(content, dict):
        raise ModelError(f"{what}: the whole must be a JSON object")
    if content.get("schema") != schema:
        raise ModelError(f"{what}: schema is {content.get('schema')!r}, expected {schema!r}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ModelError(_explain(error, what)) from None


def read(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The text of a file and its name for messages."""
    return read_text(path), os.fspath(path)


def dump(value: object) -> str:
    """One line of JSON, numpy scalars allowed; the same value gives the same text.

    Raises:
        UsageError: NaN, infinity, or something that JSON cannot hold.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except (ValueError, TypeError) as error:
        raise UsageError(f"cannot be written as JSON: {error}") from error


def dump_lines(content: Mapping[str, object]) -> str:
    """An object with one key a line, long lists and objects one element a line; an iterator counts as a list."""
    return "{\n" + ",\n".join(f"  {dump(key)}: {_block(value)}" for key, value in content.items()) + "\n}\n"


def _block(value: object) -> str:
    """A top-level value: lists of objects and objects of objects get a line for each."""
    if isinstance(value, Iterator):
        lines = [f"    {dump(item)}" for item in value]
        return "[\n" + ",\n".join(lines) + "\n  ]" if lines else "[]"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return _block(iter(value))
    if isinstance(value, dict) and value and all(isinstance(item, dict) for item in value.values()):
        return "{\n" + ",\n".join(f"    {dump(key)}: {dump(item)}" for key, item in value.items()) + "\n  }"
    return dump(value)


def _plain(value: object) -> object:
    """A numpy scalar as Python's."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    raise TypeError(f"a {type(value).__name__}")


def load(text: str, what: str) -> object:
    """Return the content of a JSON text; NaN and keys that stand twice are refused.

    Raises:
        ModelError: naming ``what`` and the path of the key that is wrong.
    """
    twice: list[str] = []
    constants: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(items)
        if len(content) == len(items):
            return content
        keys = [key for key, _ in items]
        marked = _Twice(content)
        marked.key = next(key for key in keys if keys.count(key) > 1)
        twice.append(marked.key)
        return marked

    def constant(name: str) -> float:
        constants.append(name)
        return float(name)

    try:
        content: object = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError:
        raise ModelError(f"{what}: nested too deeply") from None
    except ValueError as error:
        raise ModelError(f"{what}: not JSON: {error}") from error
    if twice:
        raise ModelError(f"{what}: {_find(content, (), _twice) or twice[0]}: the key stands twice")
    if constants:
        where = _find(content, (), _not_finite)
        raise ModelError(f"{what}: {where}: {constants[0]} is not a number; use null where there is no value")
    return content


def _twice(value: object) -> str | None:
    """The key that stands twice in this object."""
    return value.key if isinstance(value, _Twice) else None


def _not_finite(value: object) -> str | None:
    """An empty name for NaN and infinities."""
    return "" if isinstance(value, float) and not math.isfinite(value) else None


def _find(content: object, path: tuple[str | int, ...], bad: Callable[[object], str | None]) -> str:
    """The path of the first value that ``bad`` gives a name (its last part; may be empty) for."""
    name = bad(content)
    if name is not None:
        return key_path((*path, name) if name else path)
    children: Iterable[tuple[str | int, object]] = ()
    if isinstance(content, dict):
        children = content.items()
    elif isinstance(content, list):
        children = enumerate(content)
    return next((found for key, child in children if (found := _find(child, (*path, key), bad))), "")


def _explain(error: ValidationError, what: str) -> str:
    """The first complaint, with its path, and how many more there are."""
    first, count = error.errors(include_url=False)[0], error.error_count()
    words = {"extra_forbidden": "unknown key", "missing": "missing"}
    reason = words.get(first["type"], first["msg"][:1].lower() + first["msg"][1:])
    more = f" (and {count - 1} more)" if count > 1 else ""
    given = "" if first["type"] in words else f", got {_short(first['input'])}"
    return f"{what}: {key_path(first['loc'])}: {reason}{given}{more}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
