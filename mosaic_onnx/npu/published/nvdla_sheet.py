"""NVDLA's published performance sheet: the rule behind each of its rows (nvdla.org, ResNet-50 on the full config)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import ceil
from typing import Literal

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.files.atomic import read_text
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.csv_file import rows_of, whole
from mosaic_onnx.npu.layers.nest import LoopNest

SheetKind = Literal["conv", "conv + elwise", "fc"]
COLUMNS = ("layer", "kind", "C", "H", "W", "K", "R", "S", "padded", "stride", "P", "Q", "pooled", "A", "B")
OPTIONAL = {"padded": "", "pooled": "", **dict.fromkeys(("P", "Q", "H", "W", "R", "S", "stride", "A", "B"), "1")}
"""Columns that may be empty: a fully connected layer has no extent."""
WINOGRAD_WEIGHTS, WINOGRAD_MACS = 16 / 9, 2.25
"""A 3×3 filter becomes 4×4 values, and needs 2.25 times fewer multiplications."""
BYTES_PER_KB = 1024


@dataclass(frozen=True)
class SheetRow:
    """One layer as the sheet describes it: ``A`` × ``B`` outputs after the fused pooling."""

    name: str
    kind: SheetKind
    C: int
    H: int
    W: int
    K: int
    R: int
    S: int
    stride: int
    A: int
    B: int


@dataclass(frozen=True)
class SheetCost:
    """The sheet's figures of a row.

    Attributes:
        dram_traffic_kb: kB of 1,024 bytes.
        dram_cycles: 100 a kB at 10 GB/s and 1 GHz: the sheet takes a kB as 1,000 bytes here.
        mac_cycles: of the multipliers.
        macs: multiply-accumulates of the layer.
    """

    dram_traffic_kb: float
    dram_cycles: float
    mac_cycles: float
    macs: int

    @property
    def cycles(self) -> float:
        """The larger of both."""
        return max(self.dram_cycles, self.mac_cycles)


def sheet_cost(row: SheetRow, hardware: Hardware) -> SheetCost:
    """Return the sheet's figures for a row: traffic by what fits the convolution buffer, cycles by the larger part.

    Stride s folds s×s input pixels into channels. Input and weights are read once, except where the smaller of both
    does not fit beside the least that must be kept of the other; then the other is read again for each part of it.
    A fully connected layer is a convolution of one pixel, its weights read for each image: with batches, as the sheet's
    text may be read, its rows of ResNet-50 do not add up to its total (docs/npu.md).
    """
    folded = _up(row.C * row.stride**2, 16)
    rows, columns = ceil(row.H / row.stride), ceil(row.W / row.stride)
    taps = ceil(row.R / row.stride) * ceil(row.S / row.stride)
    is_winograd = row.R == row.S == 3
    weights = folded * taps * row.K * (WINOGRAD_WEIGHTS if is_winograd else 1)
    inputs, outputs = folded * rows * columns, row.A * row.B * _up(row.K, 16)
    kept_rows = row.R + 1 if row.C < 16 else row.R
    least = (folded * min(kept_rows, rows) * columns, folded * taps * 32)
    moved = _traffic(inputs, weights, outputs, least, hardware.buffer.total_bytes)
    if "elwise" in row.kind:
        moved += outputs
    macs = folded * rows * columns * _up(row.K, 128) * row.R * row.S / row.stride**2
    mac_cycles = macs / hardware.array.mac_count / (WINOGRAD_MACS if is_winograd else 1)
    kilobytes = moved / BYTES_PER_KB
    dram_cycles = kilobytes * 1000 / hardware.dram.bytes_per_cycle
    exact = row.C * row.K * row.R * row.S * ceil(row.H / row.stride) * ceil(row.W / row.stride)
    return SheetCost(kilobytes, dram_cycles, mac_cycles, exact)


def _traffic(inputs: float, weights: float, outputs: float, least: tuple[float, float], buffer: int) -> float:
    """Return the bytes that pass DRAM.

    Args:
        inputs: bytes of the input.
        weights: bytes of the weights.
        outputs: bytes of the output.
        least: bytes of input and of weights that must be in the buffer for any work to go on.
        buffer: its bytes.
    """
    least_inputs, least_weights = least
    if least_weights > buffer:
        least_weights = buffer / 2
    if inputs < weights:
        room = buffer - least_weights
        return inputs + outputs + weights * (ceil(inputs / room) if inputs > room else 1)
    room = buffer - least_inputs
    return weights + outputs + inputs * (ceil(weights / room) if weights > room else 1)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def read_sheet(path: str | os.PathLike[str]) -> tuple[SheetRow, ...]:
    """Read rows of the sheet from a CSV with its columns (``layer`` to ``B``).

    Raises:
        ModelError: a column is missing or a value is impossible.
    """
    what = os.fspath(path)
    found = []
    for line, row in rows_of(read_text(path), what, COLUMNS, OPTIONAL):
        where = f"{what}: line {line}"
        kind = _kind(row["kind"].lower(), where)
        count = {each: whole(row[each], each, where) for each in ("C", "H", "W", "K", "R", "S", "stride", "A", "B")}
        found.append(SheetRow(row["layer"], kind, **count))
    return tuple(found)


def _kind(word: str, where: str) -> SheetKind:
    """Return the kind that a row's word means.

    Raises:
        ModelError: it means none.
    """
    if word.startswith(("fc", "fully", "inner")):
        return "fc"
    if word.startswith("conv"):
        return "conv + elwise" if "elwise" in word else "conv"
    raise ModelError(f"{where}: kind: {word!r} is no kind of the sheet", "conv, conv + elwise or fc")


def sheet_row_of(nest: LoopNest) -> SheetRow:
    """Return a layer of a model as a row of the sheet; a group is a row, a depthwise layer one input channel.

    Pooling is not fused: A × B is the convolution's own output.
    """
    kind: SheetKind = "conv + elwise" if nest.residual_elements else "conv"
    if nest.kind == "gemm" and nest.Q == 1:
        kind = "fc"
    return SheetRow(nest.name, kind, nest.C, nest.H, nest.W, nest.K, nest.R, nest.S, nest.stride[0], nest.P, nest.Q)
