"""Published rules over whole files, in the fields that ``mosaic-onnx npu map`` prints."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any, Literal, cast

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.csv_file import read_layers
from mosaic_onnx.npu.layers.model import read_model
from mosaic_onnx.npu.layers.nest import LoopNest
from mosaic_onnx.npu.published import midap
from mosaic_onnx.npu.published.nvdla_sheet import SheetRow, read_sheet, sheet_cost, sheet_row_of
from mosaic_onnx.npu.published.scale_sim import SystolicDataflow, scale_sim_cycles

PublishedModel = Literal["scale-sim", "nvdla-sheet", "midap"]
PUBLISHED: tuple[PublishedModel, ...] = ("scale-sim", "nvdla-sheet", "midap")


def published_layers(
    path: str | os.PathLike[str], hardware: Hardware, model: PublishedModel, dataflow: str
) -> list[dict[str, Any]]:
    """Return the layers of a file with their cycles by a published rule; these rules know no energy.

    Args:
        path: a model, a CSV of layers, or the CSV that the rule has of its own.
        hardware: array, buffer and bandwidth where the rule takes them.
        model: the rule.
        dataflow: os, ws or is for SCALE-Sim; ``best`` takes the least of the three.

    Raises:
        UsageError: SCALE-Sim knows no such dataflow.
        ModelError: the file is wrong.
    """
    if model == "midap":
        return _midap(path, hardware)
    if model == "nvdla-sheet":
        rows = read_sheet(path) if _has_column(path, "layer") else _sheet_rows(_nests(path, hardware))
        return [_sheet_fields(row, hardware) for row in rows]
    return [_scale_sim_fields(nest, hardware, dataflow) for nest in _nests(path, hardware)]


def _has_column(path: str | os.PathLike[str], column: str) -> bool:
    """Return whether a CSV file has a column of this name; false for models."""
    if not os.fspath(path).lower().endswith(".csv"):
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        return column in [name.strip() for name in file.readline(2**16).split(",")]


def _nests(path: str | os.PathLike[str], hardware: Hardware) -> Sequence[LoopNest]:
    """Return the layers for the array; the published rules know no others."""
    is_list = os.fspath(path).lower().endswith(".csv")
    layers = (read_layers(path) if is_list else read_model(path, hardware)).layers
    return [layer for layer in layers if isinstance(layer, LoopNest)]


def _sheet_rows(nests: Iterable[LoopNest]) -> list[SheetRow]:
    return [sheet_row_of(nest) for nest in nests]


def _sheet_fields(row: SheetRow, hardware: Hardware) -> dict[str, Any]:
    cost = sheet_cost(row, hardware)
    extra = {"dram_traffic_kb": cost.dram_traffic_kb, "dram_cycles": cost.dram_cycles, "mac_cycles": cost.mac_cycles}
    moved = round(cost.dram_traffic_kb * 1024)
    return _fields(row.name, cost.macs, cost.cycles, hardware, "nvdla", moved) | extra


def _scale_sim_fields(nest: LoopNest, hardware: Hardware, dataflow: str) -> dict[str, Any]:
    names: tuple[SystolicDataflow, ...] = ("os", "ws", "is")
    if dataflow not in (*names, "best"):
        raise UsageError(f"SCALE-Sim knows no dataflow {dataflow!r}", "os, ws, is, or best for the least of the three")
    chosen = names if dataflow == "best" else (cast(SystolicDataflow, dataflow),)
    array = hardware.array
    found = {each: scale_sim_cycles(nest, array.rows, array.columns, each) for each in chosen}
    best = min(found, key=lambda each: found[each])
    return _fields(nest.name, nest.macs, found[best], hardware, best, None)


def _midap(path: str | os.PathLike[str], hardware: Hardware) -> list[dict[str, Any]]:
    if _has_column(path, "specification"):
        return [
            _fields(block.specification, midap.block_macs(block), midap.block_cycles(block), hardware, "midap", None)
            for block in midap.read_blocks(path)
        ]
    return [
        _fields(nest.name, nest.macs, midap.nest_cycles(nest), hardware, "midap", None)
        for nest in _nests(path, hardware)
    ]


def _fields(
    name: str, macs: int, cycles: float, hardware: Hardware, dataflow: str, dram_bytes: int | None
) -> dict[str, Any]:
    """Return a layer's fields; what the rule does not say is null."""
    whole = ceil(cycles - 1e-9)
    return {
        "name": name,
        "macs": macs,
        "cycles": whole,
        "seconds": whole / hardware.clock_hz,
        "joules": None,
        "utilisation": macs / (whole * hardware.array.mac_count) if whole else 0.0,
        "dram_bytes": dram_bytes,
        "buffer_bytes": None,
        "bound_cycles": ceil(macs / hardware.array.mac_count),
        "dataflow": dataflow,
        "spatial": None,
        "order": None,
        "tiles": None,
        "certificate": {"evaluated": 1, "pruned": {}, "bound": None, "gap": None},
    }
