"""Reading untrusted text and JSON files, with errors that name the place, for all importers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.graphs import free_name
from mosaic_onnx.files import atomic as files

MAX_FILE_BYTES = 512 * 1024 * 1024
"""Larger files are refused (the largest published profile has 0.6 MB)."""


def read_text(path: Path, form: str) -> str:
    """Return the file's text.

    Args:
        path: the file.
        form: name of its format, for the message (``PipeDream graph``).

    Raises:
        ModelError: it cannot be read, is too large or is not UTF-8 text.
    """
    try:
        return files.read_text(path, MAX_FILE_BYTES)
    except ModelError as error:
        words, hint = f"{error.message} (a {form} file is expected)", error.hint or "Is it the right file?"
        raise ModelError(words, hint) from error


def read_json(path: Path, form: str) -> object:
    """Return the file's JSON value; NaN and infinities are refused.

    Raises:
        ModelError: it cannot be read or is not JSON.
    """
    text = read_text(path, form)

    def refuse(word: str) -> float:
        raise ModelError(f"{path}: holds {word}, which is not a JSON number", "Export the profile again.")

    try:
        value: object = json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ModelError(
            f"{path}: is not JSON, so it is no {form} file (line {error.lineno}: {error.msg})",
            "A file that ends too early comes from a run that was stopped before it finished writing.",
        ) from error
    except RecursionError as error:
        raise ModelError(f"{path}: is nested too deeply for a {form} file", "Is it the right file?") from error
    return value


class Fields:
    """One JSON object with its place in the file, which every error names.

    Attributes:
        where: ``file: nodes[3]``, the start of every message.
    """

    def __init__(self, value: object, where: str) -> None:
        """Check the object.

        Raises:
            ModelError: the value is not an object.
        """
        if not isinstance(value, Mapping):
            raise ModelError(f"{where}: must be an object, is {_kind(value)}", "Is it the right kind of file?")
        self._values: Mapping[str, object] = value
        self.where = where

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def get(self, key: str) -> object:
        """Return the raw value, or None."""
        return self._values.get(key)

    def required(self, key: str) -> object:
        """Return the raw value; an absent key or a null is an error that names it."""
        value = self._values.get(key)
        if value is None:
            raise ModelError(f"{self.where}: the key '{key}' is missing", "Is it the right kind of file?")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number of at least 0; ``default`` where the key is absent."""
        if default is not None and key not in self:
            return default
        return nonnegative(self.required(key), f"{self.where}.{key}")

    def flag(self, key: str, default: bool) -> bool:
        """Return a boolean, from a boolean or from a number that is 0 for false."""
        value = self.get(key)
        return value if isinstance(value, bool) else self.number(key, float(default)) != 0

    def word(self, key: str) -> str:
        """Return a string, from a string or a whole number."""
        value = self.required(key)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ModelError(f"{self.where}.{key}: must be a name, is {_kind(value)}", "Is it the right kind of file?")
        return str(value)

    def objects(self, key: str) -> list[Fields]:
        """Return a list of objects."""
        return objects(self.required(key), f"{self.where}.{key}")


def objects(value: object, where: str) -> list[Fields]:
    """Return the members of a list as ``Fields``.

    Raises:
        ModelError: it is not a list, or a member is not an object.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ModelError(f"{where}: must be a list, is {_kind(value)}", "Is it the right kind of file?")
    return [Fields(member, f"{where}[{index}]") for index, member in enumerate(value)]


def nonnegative(value: object, where: str) -> float:
    """Return a finite number of at least 0, from a number or a text.

    Raises:
        ModelError: it is not; the message names ``where``.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise ModelError(f"{where}: must be a number, is {_kind(value)}", "Export the profile again.") from None
    if not math.isfinite(number) or number < 0:
        raise ModelError(f"{where}: must be a number of at least 0, is {value}", "Export the profile again.")
    return number


def unique_names(wanted: Iterable[str]) -> list[str]:
    """Return the names, each made unique by ``#2``, ``#3`` … where one comes again."""
    taken: set[str] = set()
    return [free_name(name, taken) for name in wanted]


def _kind(value: object) -> str:
    """Return the type of a JSON value in words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return repr(value)[:40]
