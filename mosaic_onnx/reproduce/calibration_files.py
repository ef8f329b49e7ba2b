"""The files of a calibration: the shipped description, and the fits of all seeds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from mosaic_onnx.core.devices import Device
from mosaic_onnx.files.device_file import SCHEMA
from mosaic_onnx.reproduce.calibrate import Calibration
from mosaic_onnx.reproduce.rates import Powers, Rates, devices, rounded

SEEDS_FILE = "hikey970_seeds.json"

HEADER = """\
# HiKey 970 (Kirin 970), simulated: big = 4x Cortex-A73, little = 4x Cortex-A53, gpu = Mali-G72, npu.
# Written by examples/calibrate_hikey970.py; do not edit, run it again.
#
# Published: the levels (MOSAIC, PACT 2019, Table II), the NPU's 100 MB limit on a slice.
# Fitted: the rates, to the ten GPU latencies of Table I and the four latency reductions for large models; the watts, to
#   the four energy reductions for large models. About thirty numbers to eighteen: hitting those proves nothing.
# Assumed: the priors of the fit (mosaic_onnx/reproduce/priors.py), and the scale of all watts.
# Inferred: how a slice's bytes are counted against the limit (half-precision weights, depthwise kernels stored dense,
#   single-precision outputs of all operators that are not fused into the one before), and what the NPU lacks.
# What that is worth: docs/reproduction.md.
"""


def description_text(one: Calibration) -> str:
    """Return the text of ``hikey970.toml``."""
    import tomli_w

    entries = [_entry(device) for device in devices(one.rates, one.powers)]
    return HEADER + "\n" + tomli_w.dumps({"schema": SCHEMA, "devices": entries})


def seeds_text(calibrations: Iterable[Calibration]) -> str:
    """Return the text of all seeds' fits, with four significant digits."""
    entries = [{"seed": one.seed, "rates": _plain(one.rates), "powers": _plain(one.powers)} for one in calibrations]
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries)
    return f"[\n{lines}\n]\n"


def read_seeds() -> tuple[Calibration, ...]:
    """Return the fits that ship with the package; the first is the description's."""
    text = resources.files("mosaic_onnx.reproduce").joinpath(SEEDS_FILE).read_text(encoding="utf-8")
    return tuple(
        Calibration(entry["seed"], _rates(entry["rates"]), Powers(**entry["powers"])) for entry in json.loads(text)
    )


def _entry(device: Device) -> dict[str, object]:
    """Return one ``[[devices]]`` table, options nested by their dots."""
    entry: dict[str, object] = {"name": device.name, "backend": device.backend, "simulated": True}
    entry["precision"], entry["io"] = device.precision, device.io
    if device.slice_memory_bytes is not None:
        entry |= {"slice_memory_bytes": device.slice_memory_bytes, "activation_memory": device.activation_memory}
    if device.levels:
        entry["levels"] = [
            {"name": level.name, "frequency_hz": level.frequency_hz, "voltage_v": level.voltage_v}
            for level in device.levels
        ]
    entry["options"] = _nested(device.options)
    return entry


def _nested(options: Mapping[str, object]) -> dict[str, object]:
    """Return the options by their dots: ``copy_in.seconds`` becomes ``seconds`` in the table ``copy_in``."""
    tables: dict[str, dict[str, object]] = {}
    plain: dict[str, object] = {}
    for key, value in options.items():
        table, _, inner = key.rpartition(".")
        if table:
            tables.setdefault(table, {})[inner] = value
        else:
            plain[key] = str(value).split(",") if key == "unsupported" else value
    return plain | tables


def _plain(values: Rates | Powers) -> dict[str, object]:
    return {
        name: [rounded(each) for each in value] if isinstance(value, tuple) else rounded(value)
        for name, value in dataclasses.asdict(values).items()
    }


def _rates(entry: Mapping[str, Any]) -> Rates:
    values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in entry.items()}
    return Rates(**values)
