"""Options: fields that a user may set, declared once with their help and their flag.

A pass's fields are its options. Where a field is declared with ``option``, the command line makes a flag of it, with
the field's default and this help; the Python API takes its defaults from the same place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, field
from typing import Any, Literal

_KEY = "mosaic_onnx.option"
Words = Literal["", "rules", "caps", "counts", "shapes", "watts"]
"""The forms of a flag's repeated words, in this order: one word, ``REGEX=DEVICE``, ``DEVICE=AMOUNT``,
``DEVICE=K``, ``NAME:1,3,224,224``, ``DEVICE=IDLE,BUSY``."""


@dataclass(frozen=True)
class Option:
    """The declaration of an option, beyond its field's name, type and default.

    Attributes:
        help: one sentence.
        flag: on the command line (``--granularity``); for a field that is True by default, the flag that ends it.
        metavar: placeholder of the value in the help.
        minimum: smallest value of a number.
        scale: factor from the number on the command line to the field's unit (1e-3 for milliseconds).
        words: form of repeated words; empty for an option of one value.
    """

    help: str
    flag: str
    metavar: str | None = None
    minimum: float | None = None
    scale: float = 1.0
    words: Words = ""


def option(
    default: Any,
    help: str,
    flag: str,
    *,
    metavar: str | None = None,
    minimum: float | None = None,
    scale: float = 1.0,
    words: Words = "",
) -> Any:
    """Return a dataclass field with an option's declaration; a callable default makes the value.

    Args:
        default: the field's default, or a function that makes it.
        help: see ``Option``, as the rest.
        flag: the option on the command line.
        metavar: placeholder of the value in the help.
        minimum: smallest value of a number.
        scale: factor from the number on the command line to the field's unit.
        words: form of repeated words.
    """
    metadata = {_KEY: Option(help, flag, metavar, minimum, scale, words)}
    if isinstance(default, Callable):  # type: ignore[arg-type]
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def declared(one: Field[Any]) -> Option | None:
    """Return the declaration of a field; None where it is not an option of the command line."""
    found = one.metadata.get(_KEY)
    return found if isinstance(found, Option) else None
