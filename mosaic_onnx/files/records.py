"""Frozen dataclasses to and from the objects of our files: one rule for the plan, the profile, devices and manifests.

A ``FileModel`` says which keys an object has, with their types and limits; the dataclass that it becomes has fields of
the same names. Reading turns a checked ``FileModel`` into the dataclass, lists into tuples. Writing makes the object:
keys in the order of the ``FileModel``, ``meta`` last; a key whose value is its default is left out, unless it is
``ALWAYS`` written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from mosaic_onnx.files.strict_json import FileModel

ALWAYS = "always written"
"""Marks a key that is written even at its default: ``seconds: Annotated[NonNegative, ALWAYS] = 0.0``."""

Record = TypeVar("Record")
_SCALARS = (type(None), float, int, str, bool)


class _Key(NamedTuple):
    """The rule for writing one field.

    Attributes:
        name: the field's name.
        key: its key in the file.
        model: of the objects that its value is or holds; None where it holds none.
        default: the value that is left out; None with ``is_always``.
        is_always: it is written whatever its value.
    """

    name: str
    key: str
    model: type[FileModel] | None
    default: object
    is_always: bool


def to_record(entry: FileModel, kind: type[Record]) -> Record:
    """Return the dataclass of type ``kind`` that a checked object stands for."""
    values = vars(entry)
    readers = _readers(type(entry), kind)  # type: ignore[arg-type]
    return kind(**{name: read(values[name]) if read else values[name] for name, read in readers})


def to_entry(record: object, model: type[FileModel]) -> dict[str, object]:
    """Return the object that a file holds for a dataclass, as plain dicts, lists and scalars."""
    entry: dict[str, object] = {}
    for name, key, inner, default, is_always in _keys(model):
        value = getattr(record, name)
        if type(value) not in _SCALARS:
            value = _plain(value, inner)
        if is_always or value != default:
            entry[key] = value
    return entry


@cache
def _readers(model: type[FileModel], kind: type[Any]) -> list[tuple[str, Callable[[Any], Any] | None]]:
    """Return the fields that both types have, each with the function that converts its value; None for scalars."""
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind) if field.name in model.model_fields]
    return [
        (name, None if _is_scalar(hints[name]) else _reader(_inner(hints[name], dataclasses.is_dataclass)))
        for name in names
    ]


def _reader(kind: type[Any] | None) -> Callable[[Any], Any]:
    """Return the function that converts a value which is, or holds, objects of a dataclass (or none)."""

    def read(value: Any) -> Any:
        if isinstance(value, _SCALARS):
            return value
        if isinstance(value, list):
            return tuple(map(read, value))
        if kind is None:
            return value
        if isinstance(value, FileModel):
            return to_record(value, kind)
        return {key: read(each) for key, each in value.items()}

    return read


@cache
def _keys(model: type[FileModel]) -> list[_Key]:
    """Return the keys of a model in the order in which they are written; ``schema`` is the file's, not the record's."""
    found = []
    for name, field in model.model_fields.items():
        if name == "schema_":
            continue
        inner = _inner(field.annotation, lambda each: isinstance(each, type) and issubclass(each, FileModel))
        is_always = field.is_required() or ALWAYS in field.metadata
        default = None if is_always else field.get_default(call_default_factory=True)
        found.append(_Key(name, field.alias or name, inner, default, is_always))
    return sorted(found, key=lambda each: each.name == "meta")


def _plain(value: object, model: type[FileModel] | None) -> object:
    """Return a value of a dataclass's field as JSON types; dataclasses inside become objects of ``model``."""
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(each, model) if model else each for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, model) for each in value]
    return to_entry(value, model) if model else value


def _is_scalar(annotation: Any) -> bool:
    """Return whether values of an annotation need no conversion (a type, a union of types, a literal)."""
    if get_args(annotation):
        is_container = isinstance(get_origin(annotation), type) and get_origin(annotation) is not UnionType
        return not is_container and all(map(_is_scalar, get_args(annotation)))
    return annotation in _SCALARS or not isinstance(annotation, type)


def _inner(annotation: Any, is_wanted: Callable[[Any], bool]) -> Any | None:
    """Return the first type within an annotation that is wanted; None where there is none."""
    return next((each for each in _types(annotation) if is_wanted(each)), None)


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _types(argument)
