"""Sweeps of an NPU's sizes: ``array=8x8..64x64`` doubles both sides, ``buffer=64k,1M`` takes these two."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.npu.hardware.description import Hardware

MOST_POINTS = 10_000
_NUMBER = re.compile(r"^([0-9]+(?:\.[0-9]+)?)([kMG]?)$")
_BINARY = {"": 1, "k": 2**10, "M": 2**20, "G": 2**30}
_DECIMAL = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}
Values = tuple[float, ...]
"""One value of an axis; an array has two numbers."""


@dataclass(frozen=True)
class Axis:
    """A size that a sweep changes.

    Attributes:
        name: its word.
        help: what its values are.
        units: what ``k``, ``M`` and ``G`` mean behind a number.
        number_count: numbers of a value, joined by ``x``.
        is_whole: only whole numbers make sense.
        change: returns the hardware with a value.
    """

    name: str
    help: str
    units: Mapping[str, float]
    number_count: int
    is_whole: bool
    change: Callable[[Hardware, Values], Hardware]


def _array(hardware: Hardware, value: Values) -> Hardware:
    return replace(hardware, array=replace(hardware.array, rows=int(value[0]), columns=int(value[1])))


def _buffer(hardware: Hardware, value: Values) -> Hardware:
    """Set the whole buffer; the parts of a split one keep their shares."""
    buffer, whole = hardware.buffer, hardware.buffer.total_bytes

    def scaled(part: int | None) -> int | None:
        return None if part is None else max(1, int(part * value[0] // whole))

    resized = replace(
        buffer,
        bytes=scaled(buffer.bytes),
        weight_bytes=scaled(buffer.weight_bytes),
        activation_bytes=scaled(buffer.activation_bytes),
        output_bytes=scaled(buffer.output_bytes),
    )
    return replace(hardware, buffer=resized)


def _registers(hardware: Hardware, value: Values) -> Hardware:
    return replace(hardware, register_bytes=int(value[0]))


def _dram(hardware: Hardware, value: Values) -> Hardware:
    return replace(hardware, dram=replace(hardware.dram, bytes_per_cycle=value[0]))


def _clock(hardware: Hardware, value: Values) -> Hardware:
    """Set the clock; DRAM and the buffer's port keep their bytes a cycle."""
    return replace(hardware, clock_hz=value[0])


AXES: Mapping[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis("array", "rows x columns", _BINARY, 2, True, _array),
        Axis("buffer", "bytes (k and M of 1,024)", _BINARY, 1, True, _buffer),
        Axis("registers", "bytes a PE", _BINARY, 1, True, _registers),
        Axis("dram", "bytes a cycle", _DECIMAL, 1, False, _dram),
        Axis("clock", "Hz (k, M and G of 1,000)", _DECIMAL, 1, False, _clock),
    )
}


@dataclass(frozen=True)
class SweptHardware:
    """One point of a sweep.

    Attributes:
        settings: what differs from the base, by axis, in words.
        hardware: the NPU.
    """

    settings: Mapping[str, str]
    hardware: Hardware


def sweep(base: Hardware, words: Sequence[str]) -> tuple[SweptHardware, ...]:
    """Return the hardware of every combination of the axes' values, the last axis changing fastest.

    Args:
        base: what the sweep changes.
        words: ``AXIS=VALUES`` each, with VALUES as ``LOW..HIGH`` (doubled from LOW on, HIGH the last) or a list.

    Raises:
        UsageError: an axis is unknown or named twice, a value cannot be read, or there are too many points.
    """
    axes = [_axis_of(word) for word in words]
    names = [axis.name for axis, _ in axes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--sweep {twice} is given twice", "put all its values into one: --sweep buffer=64k,1M")
    count = 1
    for _, texts in axes:
        count *= len(texts)
    if count > MOST_POINTS:
        raise UsageError(f"the sweep has {count} points", f"at most {MOST_POINTS}: sweep fewer values")
    found = []
    for chosen in product(*(texts for _, texts in axes)):
        hardware = base
        for (axis, _), text in zip(axes, chosen, strict=True):
            hardware = axis.change(hardware, _value(axis, text))
        settings = dict(zip(names, chosen, strict=True))
        name = ",".join(f"{axis}={text}" for axis, text in settings.items())
        found.append(SweptHardware(settings, replace(hardware, name=f"{base.name}/{name}" if name else base.name)))
    return tuple(found)


def _axis_of(word: str) -> tuple[Axis, tuple[str, ...]]:
    """Return the axis of a word and its values as text.

    Raises:
        UsageError: it is not a sweep.
    """
    name, sign, values = word.partition("=")
    if name not in AXES or not sign or not values:
        known = "; ".join(f"{axis.name} = {axis.help}" for axis in AXES.values())
        raise UsageError(f"--sweep {word!r} is no sweep", f"array=8x8..64x64, buffer=64k,1M …: {known}")
    axis = AXES[name]
    texts = [text for part in values.split(",") for text in _expanded(axis, part.strip(), word)]
    return axis, tuple(dict.fromkeys(texts))


def _expanded(axis: Axis, part: str, word: str) -> Iterable[str]:
    """Return a value, or those of a range: each number is doubled until it reaches the upper one.

    Raises:
        UsageError: the range goes downwards.
    """
    low_text, dots, high_text = part.partition("..")
    low = _value(axis, low_text)
    if not dots:
        return [low_text]
    high = _value(axis, high_text)
    if any(one > other for one, other in zip(low, high, strict=True)):
        raise UsageError(f"--sweep {word!r}: {low_text} is above {high_text}", "write LOW..HIGH")
    found, value = [low_text], low
    while value != high:
        value = tuple(min(2 * one, other) for one, other in zip(value, high, strict=True))
        found.append(high_text if value == high else _text(axis, value))
    return found


def _value(axis: Axis, text: str) -> Values:
    """Return the numbers of a value.

    Raises:
        UsageError: it cannot be read.
    """
    parts = text.split("x")
    matches = [_NUMBER.match(part) for part in parts]
    numbers = tuple(float(match[1]) * axis.units[match[2]] for match in matches if match)
    is_good = len(parts) == axis.number_count == len(numbers) and min(numbers, default=0) > 0
    if not is_good or (axis.is_whole and any(number != int(number) for number in numbers)):
        raise UsageError(f"--sweep {axis.name}: {text!r} is no value", f"{axis.name} = {axis.help}")
    return numbers


def _text(axis: Axis, value: Values) -> str:
    """Return a value in words, with the largest unit that leaves a whole number."""
    return "x".join(_number_text(axis, number) for number in value)


def _number_text(axis: Axis, number: float) -> str:
    for unit in ("G", "M", "k") if axis.number_count == 1 else ():
        if number >= axis.units[unit] and number % axis.units[unit] == 0:
            return f"{number / axis.units[unit]:g}{unit}"
    return f"{number:.15g}"
