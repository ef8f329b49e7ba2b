"""Parsers of command-line values; every error names the value and shows the right form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from mosaic_onnx.core.errors import UsageError

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def parse_bytes(text: str) -> int:
    """Return the bytes of a text such as ``4GiB``; MB is 10⁶, MiB is 2²⁰."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].upper() not in _UNITS:
        raise UsageError(f"'{text}' is not an amount of memory", "write it as 100MB, 4GiB or a number of bytes")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def parse_seconds(text: str, flag: str) -> float:
    """Return the seconds of a text such as ``20s``, ``2min`` or ``500ms``; a bare number is in seconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h|)\s*", text.lower())
    if match is None:
        raise UsageError(f"{flag} '{text}' is not a time", f"write {flag} 20s, 2min or 500ms")
    return float(match[1]) * {"ms": 1e-3, "": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}[match[2]]


def parse_effort(effort: str | None, time_budget: str | None) -> dict[str, Any]:
    """Return the options that say how long to measure, as the API takes them; only those that were given."""
    given: dict[str, Any] = {} if effort is None else {"effort": effort}
    if time_budget is not None:
        given["time_budget_s"] = parse_seconds(time_budget, "--time-budget")
    return given


def parse_caps(words: Iterable[str], flag: str) -> dict[str, int]:
    """Return {device: bytes} of texts such as ``gpu0=4GiB``."""
    caps: dict[str, int] = {}
    for word in words:
        device, sign, amount = word.partition("=")
        if not sign or not device:
            raise UsageError(f"{flag} '{word}' does not name a device and an amount", f"write {flag} gpu0=4GiB")
        if device in caps:
            raise UsageError(f"{flag} names {device} twice", "give each device one cap")
        caps[device] = parse_bytes(amount)
    return caps


def parse_numbers(text: str, flag: str) -> tuple[float, ...]:
    """Return the numbers of a text such as ``1,128``."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise UsageError(f"{flag} '{text}' is not a list of numbers", f"write {flag} 1,128") from None


def parse_counts(words: Iterable[str], flag: str) -> dict[str, int]:
    """Return {device: number} of texts such as ``npu=8``; numbers are at least 1."""
    counts: dict[str, int] = {}
    for word in words:
        device, sign, number = word.partition("=")
        if not sign or not device or not number.isdecimal() or int(number) < 1:
            raise UsageError(f"{flag} '{word}' does not name a device and a number from 1 on", f"write {flag} npu=8")
        if device in counts:
            raise UsageError(f"{flag} names {device} twice", "give each device one number")
        counts[device] = int(number)
    return counts


_SIZES = r"\d+|\{\d+(?:,\d+)*\}|\{\d+\.\.\d+(?:\.\.\d+)?\}"
"""One dimension: a size, sizes in braces, or a range with its step."""


def parse_shapes(words: Iterable[str]) -> dict[str, tuple[int | tuple[int, ...], ...]]:
    """Return {input: shape} of texts such as ``x:1,3,224,224``; the name ends at the last colon, ``x:`` is a scalar.

    A dimension may offer several sizes: ``{1,4,8}``, or ``{32..128..32}`` for 32, 64, 96 and 128.
    """
    shapes: dict[str, tuple[int | tuple[int, ...], ...]] = {}
    for word in words:
        name, sign, dims = word.rpartition(":")
        if not sign or not name or not re.fullmatch(rf"((?:{_SIZES})(?:,(?:{_SIZES}))*)?", dims):
            raise UsageError(
                f"--input-shape '{word}' is not a shape",
                "write --input-shape NAME:1,3,224,224; several sizes: {1,4,8}, a range with its step: {32..128..32}",
            )
        if name in shapes:
            raise UsageError(f"--input-shape names {name} twice", "give each input one shape")
        shapes[name] = tuple(_sizes(dim, word) for dim in re.findall(_SIZES, dims))
    return shapes


def _sizes(text: str, word: str) -> int | tuple[int, ...]:
    """The sizes of one dimension."""
    if not text.startswith("{"):
        return int(text)
    if ".." not in text:
        return tuple(map(int, text[1:-1].split(",")))
    low, high, step = map(int, [*text[1:-1].split(".."), "1"][:3])
    if step < 1 or high < low:
        raise UsageError(f"--input-shape '{word}': {text} is no range", "write {LOW..HIGH..STEP}")
    return tuple(range(low, high + 1, step))


def parse_rules(words: Iterable[str], flag: str) -> tuple[tuple[str, str], ...]:
    """Return (regex, device) pairs of texts ``REGEX=device``; the device follows the last equals sign."""
    rules = []
    for word in words:
        pattern, sign, device = word.rpartition("=")
        if not sign or not pattern or not device:
            raise UsageError(f"{flag} '{word}' is not a rule", f"write {flag} 'REGEX=device'")
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageError(f"{flag} '{word}': '{pattern}' is not a regular expression: {error}") from error
        rules.append((pattern, device))
    return tuple(rules)


def split_words(words: Iterable[str]) -> tuple[str, ...]:
    """Return repeated and comma-separated words as one tuple, in order, without repeats."""
    return tuple(dict.fromkeys(part.strip() for word in words for part in word.split(",") if part.strip()))
