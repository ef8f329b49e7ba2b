"""Options of an emulated NPU in a device entry, and the device that a hardware description makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite

from mosaic_onnx.backends.option_model import OptionRule, harmless, rules_of
from mosaic_onnx.core.devices import Device, Level, OptionValue
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.npu.costs.evaluate import Objective
from mosaic_onnx.npu.hardware.description import DIMENSIONS, Hardware
from mosaic_onnx.npu.hardware.file import load_hardware, preset_names
from mosaic_onnx.npu.layers.nest import LoopNest
from mosaic_onnx.npu.search.dataflow import BEST
from mosaic_onnx.npu.search.fixed import FIXED, restriction_of

NAME = "npu"
OBJECTIVES: tuple[Objective, ...] = ("latency", "energy", "edp")


def _no_preset(value: OptionValue) -> str | None:
    """Return why an untrusted file may not name this hardware: it may name presets only."""
    return None if value in preset_names() else "it names no NPU that ships with mosaic-onnx"


@dataclass(frozen=True)
class NpuOptions:
    """An emulated NPU's options.

    Attributes:
        hardware: a preset's name, or the path of an ``npu.toml``.
        objective: what each layer's mapping makes least.
        time_scale: real seconds that a run waits for each simulated second.
    """

    hardware: str = harmless("", check=_no_preset)
    objective: Objective = harmless("latency")
    time_scale: float = harmless(1.0)


def option_rules() -> tuple[OptionRule, ...]:
    """Return every option, and whether a bundle may set it."""
    return rules_of(NpuOptions)


def read_options(device: Device) -> NpuOptions:
    """Return the device's options.

    Raises:
        UsageError: an option is unknown or its value does not fit; the message names device and option.
    """
    known = {rule.key for rule in option_rules()}
    unknown = next((key for key in device.options if key not in known), None)
    if unknown is not None:
        raise UsageError(f"device {device.name}: option {unknown!r} is unknown", f"known: {', '.join(sorted(known))}")
    hardware, objective = device.options.get("hardware", ""), device.options.get("objective", "latency")
    time_scale = device.options.get("time_scale", 1.0)
    if not isinstance(hardware, str) or not hardware:
        raise UsageError(
            f"device {device.name}: option hardware names no NPU", f"one of {', '.join(preset_names())}, or an npu.toml"
        )
    if objective not in OBJECTIVES:
        raise UsageError(
            f"device {device.name}: option objective = {objective!r} is none", f"one of {', '.join(OBJECTIVES)}"
        )
    if isinstance(time_scale, str | bool) or not isfinite(time_scale) or time_scale < 0:
        raise UsageError(f"device {device.name}: option time_scale = {time_scale!r} is not a number from 0 on")
    return NpuOptions(hardware, objective, float(time_scale))


@lru_cache(maxsize=64)
def hardware_of(name_or_path: str) -> Hardware:
    """Return the hardware of an option; a file is read once in a process.

    Raises:
        UsageError: there is no such preset or file.
        ModelError: the file is wrong.
    """
    return load_hardware(name_or_path)


def device_of_hardware(name_or_path: str) -> Device:
    """Return the device ``npu:NAME`` of a hardware description; its levels are the dataflows that it can run.

    Raises:
        UsageError: there is no such preset or file.
        ModelError: the file is wrong.
    """
    hardware = load_hardware(name_or_path)
    return replace(device_like(hardware, dataflows_of(hardware)), options={"hardware": name_or_path})


def device_like(hardware: Hardware, dataflows: Sequence[str]) -> Device:
    """Return a hardware's device with the given dataflows as levels, without the options that a run needs."""
    return Device(
        f"{NAME}:{hardware.name}",
        backend=NAME,
        precision=hardware.precision.name,
        simulated=True,
        levels=tuple(Level(name) for name in dataflows),
        io="resident" if hardware.link.resident else "host",
        slice_memory_bytes=hardware.slice_bytes,
        activation_memory="sum" if hardware.slice_bytes is not None else "live",
    )


def dataflows_of(hardware: Hardware) -> tuple[str, ...]:
    """Return the dataflows that the array can run: fixed ones whose loops it may unroll, and at last ``best``."""
    probe = LoopNest("probe", "conv", 1, 64, 64, 8, 8, 3, 3, 8, 8, padding=(1, 1))
    return (*(name for name in FIXED if _can_run(name, probe, hardware)), BEST)


def _can_run(dataflow: str, probe: LoopNest, hardware: Hardware) -> bool:
    if set(DIMENSIONS) == set(hardware.array.row_unroll) == set(hardware.array.column_unroll):
        return True
    try:
        restriction_of(dataflow, probe, hardware)
    except UsageError:
        return False
    return True
