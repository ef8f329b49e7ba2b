"""Options of a simulated device, read once and checked: ``[devices.options]`` in ``devices.toml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

from mosaic_onnx.backends.option_model import OptionRule, harmless, rules_of
from mosaic_onnx.core.devices import Device, OptionValue
from mosaic_onnx.core.errors import UsageError

MAC_CLASSES = ("conv1x1", "convkxk", "depthwise3", "depthwise5", "fc", "other")
_RATE = "seconds_per_gmac."


@dataclass(frozen=True)
class CopyLine:
    """The time of a transfer into or out of the device's own memory: seconds_per_byte · bytes + seconds."""

    seconds_per_byte: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class SimulatedOptions:
    """A simulated device's options, all declared harmless: none names code or a path.

    Attributes:
        seconds_per_gmac: seconds for 10⁹ multiply-accumulates at the highest level, by class (``MAC_CLASSES``); a
            class left out is free.
        seconds_per_operator: added for every operator that is not fused into the one before, at the highest level.
        seconds_per_weight_mb: seconds to read 10⁶ bytes of weights, independent of the clock.
        seconds_per_activation_mb: likewise for the inputs and outputs of a layer.
        dense_depthwise: depthwise kernels are stored and computed dense (C x C x k x k).
        bytes_per_weight: bytes of a stored weight; 0 for the model's own.
        buffered_activations: the f32 outputs of all operators that are not fused into the one before count against
            ``slice_memory_bytes``, instead of the layer's outputs.
        supported: operator types that it supports; empty for all.
        unsupported: operator types that it does not support.
        dynamic_w: dynamic power at the highest level; None where energy is not described.
        static_w: static power at the highest level; lower levels draw it in proportion to their voltage.
        copy_in: host to device; None where it shares host's memory.
        copy_out: device to host; None where it shares host's memory.
        copy_w: power during transfers.
        switch_seconds: time to change from any level to any other.
        switch_joules: energy of that.
        overlap: overlap of computing and memory: 1 adds them up (MOSAIC's Equation 3), more
            hides the shorter behind the longer: ``t^p = (γ/f)^p + ε^p``.
        noise: relative standard deviation of its measurements.
        seed: seed of the noise.
        time_scale: real seconds that a run sleeps for each simulated second.
        level: the level of runs; empty for the highest.
    """

    seconds_per_gmac: Mapping[str, float] = harmless()
    seconds_per_operator: float = harmless(0.0)
    seconds_per_weight_mb: float = harmless(0.0)
    seconds_per_activation_mb: float = harmless(0.0)
    dense_depthwise: bool = harmless(default=False)
    bytes_per_weight: int = harmless(0)
    buffered_activations: bool = harmless(default=False)
    supported: frozenset[str] = harmless(frozenset())
    unsupported: frozenset[str] = harmless(frozenset())
    dynamic_w: float | None = harmless(None)
    static_w: float = harmless(0.0)
    copy_in: CopyLine | None = harmless(None)
    copy_out: CopyLine | None = harmless(None)
    copy_w: float = harmless(0.0)
    switch_seconds: float = harmless(0.0)
    switch_joules: float = harmless(0.0)
    overlap: float = harmless(1.0)
    noise: float = harmless(0.0)
    seed: int = harmless(0)
    time_scale: float = harmless(1.0)
    level: str = harmless("")


_NUMBERS = (
    *("seconds_per_operator", "seconds_per_weight_mb", "seconds_per_activation_mb", "dynamic_w", "static_w", "copy_w"),
    *("switch_seconds", "switch_joules", "overlap", "noise", "time_scale"),
)
_WHOLE = ("bytes_per_weight", "seed")
_FLAGS = ("dense_depthwise", "buffered_activations")
_LISTS = ("supported", "unsupported")
_LINES = ("copy_in", "copy_out")


_TABLES: Mapping[str, tuple[str, ...]] = {"seconds_per_gmac": (), "copy_in": (), "copy_out": ()}


def option_rules() -> tuple[OptionRule, ...]:
    """Return every option, and whether a bundle may set it."""
    return rules_of(SimulatedOptions, _TABLES)


def read_options(device: Device) -> SimulatedOptions:
    """Return the device's options; they are read once per device, since costs are computed by layer.

    Raises:
        UsageError: an option is unknown or its value does not fit; the message names device and option.
    """
    options = tuple((key, type(value), value) for key, value in device.options.items())
    return _read(device.name, options, tuple(level.name for level in device.levels))


@lru_cache(maxsize=64)
def _read(device: str, given: tuple[tuple[str, type, OptionValue], ...], levels: tuple[str, ...]) -> SimulatedOptions:
    """Return the options of a device's fields; the key has types beside values, since 1 and True are equal."""
    rates: dict[str, float] = {}
    lines: dict[str, dict[str, float]] = {}
    plain: dict[str, object] = {}
    for key, _, value in given:
        table, _, inner = key.partition(".")
        if key.startswith(_RATE) and inner in MAC_CLASSES:
            rates[inner] = _number(device, key, value)
        elif table in _LINES and inner in ("seconds_per_byte", "seconds"):
            lines.setdefault(table, {})[inner] = _number(device, key, value)
        elif key in _NUMBERS:
            plain[key] = _number(device, key, value)
        elif key in _WHOLE:
            plain[key] = _whole(device, key, value)
        elif key in _FLAGS or key == "level":
            plain[key] = _typed(device, key, value, bool if key in _FLAGS else str)
        elif key in _LISTS:
            plain[key] = frozenset(filter(None, str(value).split(",")))
        else:
            raise _unknown(device, key)
    options = SimulatedOptions(
        seconds_per_gmac=rates,
        copy_in=CopyLine(**lines["copy_in"]) if "copy_in" in lines else None,
        copy_out=CopyLine(**lines["copy_out"]) if "copy_out" in lines else None,
        **plain,  # type: ignore[arg-type]  # each checked above
    )
    _check(device, levels, options)
    return options


def _check(device: str, levels: tuple[str, ...], options: SimulatedOptions) -> None:
    if options.overlap < 1:
        raise UsageError(f"device {device}: overlap = {options.overlap} is below 1", "1 means no overlap")
    if (options.copy_in is None) != (options.copy_out is None):
        raise UsageError(
            f"device {device}: one of copy_in and copy_out is missing",
            "a device with its own memory has both; one that shares host's has neither",
        )
    if options.level and options.level not in levels:
        raise UsageError(f"device {device}: level {options.level!r} is unknown", f"levels: {', '.join(levels)}")


def _number(device: str, key: str, value: OptionValue) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise UsageError(f"device {device}: option {key} = {value!r} is not a number from 0 on")
    return float(value)


def _whole(device: str, key: str, value: OptionValue) -> int:
    number = _number(device, key, value)
    if not number.is_integer():
        raise UsageError(f"device {device}: option {key} = {value!r} is not a whole number")
    return int(number)


def _typed(device: str, key: str, value: OptionValue, kind: type) -> OptionValue:
    if type(value) is not kind:
        raise UsageError(f"device {device}: option {key} = {value!r} is not of type {kind.__name__}")
    return value


def _unknown(device: str, key: str) -> UsageError:
    known = [
        *(f"{_RATE}{kind}" for kind in MAC_CLASSES),
        *(f"{line}.{part}" for line in _LINES for part in ("seconds_per_byte", "seconds")),
        *(*_NUMBERS, *_WHOLE, *_FLAGS, *_LISTS, "level"),
    ]
    return UsageError(f"device {device}: option {key!r} is unknown", f"known: {', '.join(known)}")
