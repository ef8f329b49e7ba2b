"""Strict reading of JSON: NaN and repeated keys are refused, and every error names the path of the key."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.files.atomic import read_text

LARGEST_BYTES = 2**48
"""More than the bytes of any tensor; sums over a whole model still fit 64 bits."""


def _whole(value: object) -> object:
    """Return a whole float (``1e8``) as an int, other values as they are: pydantic refuses ``1.5`` and ``"1"``."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ByteCount = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=LARGEST_BYTES)]
Index = Annotated[int, BeforeValidator(_whole), Field(ge=0)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1)]
Factor = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]
Meta = dict[str, Any]


class FileModel(BaseModel):
    """Base class of the objects in our files: unknown keys are errors, types are not coerced, ``meta`` is allowed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)
    meta: Meta = Field(default_factory=dict)


AnyFileModel = TypeVar("AnyFileModel", bound=FileModel)


class _Twice(dict[str, Any]):
    """An object in which a key occurs twice."""

    key = ""


def key_path(parts: Iterable[str | int]) -> str:
    """Return the text of a key's path: ``layers[0].cost.npu`` for ``("layers", 0, "cost", "npu")``."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def parse(text: str, model: type[AnyFileModel], schema: str, what: str) -> AnyFileModel:
    """Return the object of a JSON text, checked by ``model``.

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
    """Return the object of content read from JSON or TOML; arguments and errors as for ``parse``."""
    if not isinstance(content, dict):
        raise ModelError(f"{what}: the whole must be a JSON object")
    if content.get("schema") != schema:
        raise ModelError(f"{what}: schema is {content.get('schema')!r}, expected {schema!r}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ModelError(_explain(error, what)) from None


def read(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return the text of a file and its name for messages.

    Raises:
        ModelError: it is missing or unreadable, or it is a model or a bundle.
    """
    given = Path(path)
    if given.suffix.lower() == ".onnx":
        raise ModelError(
            f"{path} is a model: a profile or a plan is expected here",
            f"measure it first: mosaic-onnx profile {path}; or compile it, which plans too",
        )
    if given.is_dir():
        raise ModelError(
            f"{path} is a folder: a profile or a plan is expected here",
            f"of a bundle, name {given / 'profile.json'} or {given / 'plan.json'}",
        )
    return read_text(path), os.fspath(path)


def dump(value: object) -> str:
    """Return one line of JSON, numpy scalars allowed; the same value gives the same text.

    Raises:
        UsageError: NaN, infinity, or something that JSON cannot hold.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except (ValueError, TypeError) as error:
        raise UsageError(f"cannot be written as JSON: {error}") from error


def dump_lines(content: Mapping[str, object]) -> str:
    """Return JSON with one key per line, and one element per line of lists and iterators of objects."""
    return "{\n" + ",\n".join(f"  {dump(key)}: {_block(value)}" for key, value in content.items()) + "\n}\n"


def _block(value: object) -> str:
    """Return a top-level value, with one line for each object in it."""
    if isinstance(value, Iterator):
        lines = [f"    {dump(item)}" for item in value]
        return "[\n" + ",\n".join(lines) + "\n  ]" if lines else "[]"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return _block(iter(value))
    if isinstance(value, dict) and value and all(isinstance(item, dict) for item in value.values()):
        return "{\n" + ",\n".join(f"    {dump(key)}: {dump(item)}" for key, item in value.items()) + "\n  }"
    return dump(value)


def _plain(value: object) -> object:
    """Return a numpy scalar as a Python number."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    raise TypeError(f"a {type(value).__name__}")


def load(text: str, what: str) -> object:
    """Return the content of a JSON text; NaN and repeated keys are refused.

    Raises:
        ModelError: naming ``what`` and the path of the key that is wrong.
    """
    twice: list[str] = []
    constants: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(items)
        if len(content) == len(items):
            return content
        counts = Counter(key for key, _ in items)
        marked = _Twice(content)
        marked.key = next(key for key, count in counts.items() if count > 1)
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
        raise ModelError(f"{what}: {_find(content, _twice) or twice[0]}: the key occurs twice")
    if constants:
        where = _find(content, _not_finite)
        raise ModelError(f"{what}: {where}: {constants[0]} is not a number; use null where there is no value")
    return content


def _twice(value: object) -> str | None:
    """Return the key that occurs twice in this object; None where there is none."""
    return value.key if isinstance(value, _Twice) else None


def _not_finite(value: object) -> str | None:
    """Return an empty name for NaN and infinities, None for other values."""
    return "" if isinstance(value, float) and not math.isfinite(value) else None


def _find(content: object, bad: Callable[[object], str | None]) -> str:
    """Return the path of the first value for which ``bad`` returns a name (the path's last part, possibly empty)."""
    left: list[tuple[tuple[str | int, ...], object]] = [((), content)]
    while left:
        path, value = left.pop()
        name = bad(value)
        if name is not None:
            return key_path((*path, name) if name else path)
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        left.extend(reversed([((*path, key), child) for key, child in children]))
    return ""


def _explain(error: ValidationError, what: str) -> str:
    """Return the first error with its path, and the number of the others."""
    first, count = error.errors(include_url=False)[0], error.error_count()
    words = {"extra_forbidden": "unknown key", "missing": "missing"}
    reason = words.get(first["type"], first["msg"][:1].lower() + first["msg"][1:])
    more = f" (and {count - 1} more)" if count > 1 else ""
    given = "" if first["type"] in words else f", got {_short(first['input'])}"
    return f"{what}: {key_path(first['loc'])}: {reason}{given}{more}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
