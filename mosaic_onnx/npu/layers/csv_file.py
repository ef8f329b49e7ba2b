"""Layers without a model: a CSV ``name,kind,C,H,W,K,R,S,stride,padding,groups,batch``."""

from __future__ import annotations

import csv
import io
import os

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.files.atomic import read_text
from mosaic_onnx.npu.layers.nest import LoopNest, ModelLayers

COLUMNS = ("name", "kind", "C", "H", "W", "K", "R", "S", "stride", "padding", "groups", "batch")
OPTIONAL = {"padding": "valid", "groups": "1", "batch": "1", "stride": "1"}
LARGEST = 2**24


def read_layers(path: str | os.PathLike[str]) -> ModelLayers:
    """Read layers from a CSV file.

    Args:
        path: the file; ``kind`` is conv, depthwise or gemm (H×W = 1×N rows); ``padding`` is valid, same or a number.

    Raises:
        ModelError: a column is missing or a value is impossible; the message names line and column.
    """
    what = os.fspath(path)
    rows = rows_of(read_text(path), what, COLUMNS, OPTIONAL)
    layers = tuple(_nest(row, f"{what}: line {line}") for line, row in rows)
    if not layers:
        raise ModelError(f"{what}: there is no layer", "write one layer a line below the header")
    return ModelLayers(os.path.basename(what), layers)


def rows_of(
    text: str, what: str, columns: tuple[str, ...], optional: dict[str, str] | None = None
) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV text whose header must hold the named columns.

    Args:
        text: the CSV text.
        what: what to call it in errors.
        columns: names that must stand in the header; more are ignored.
        optional: defaults of columns that may be absent or empty.

    Returns:
        Line numbers with the columns' values, stripped.

    Raises:
        ModelError: a column is missing, or a row is short.
    """
    reader = csv.DictReader(io.StringIO(text), strict=True)
    defaults = optional or {}
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in columns if name not in header and name not in defaults]
        if missing:
            raise ModelError(f"{what}: no column {missing[0]!r}", f"the header must hold {','.join(columns)}")
        reader.fieldnames = header
        found = []
        for row in reader:
            values = {name: (row.get(name) or "").strip() or defaults.get(name, "") for name in columns}
            found.append((reader.line_num, values))
        return found
    except csv.Error as error:
        raise ModelError(f"{what}: not CSV: {error}") from error


def whole(text: str, column: str, where: str, least: int = 1) -> int:
    """Read a whole number.

    Raises:
        ModelError: it is not one, or out of range.
    """
    try:
        value = int(text)
    except ValueError:
        raise ModelError(f"{where}: {column}: {text!r} is not a whole number") from None
    if not least <= value <= LARGEST:
        raise ModelError(f"{where}: {column}: {value} is out of range", f"from {least} to {LARGEST}")
    return value


def _nest(row: dict[str, str], where: str) -> LoopNest:
    kind = row["kind"]
    if kind not in ("conv", "depthwise", "gemm"):
        raise ModelError(f"{where}: kind: {kind!r} is not a kind of layer", "conv, depthwise or gemm")
    if not row["name"]:
        raise ModelError(f"{where}: name: a layer must have one")
    count = {column: whole(row[column], column, where) for column in ("C", "H", "W", "K", "groups", "batch")}
    if kind == "gemm":
        rows = count["H"] * count["W"] * count["batch"]  # the batch shares the weights; groups are separate products
        return LoopNest(row["name"], "gemm", 1, count["K"], count["C"], 1, rows, 1, 1, 1, rows, repeats=count["groups"])
    taps = whole(row["R"], "R", where), whole(row["S"], "S", where)
    stride = whole(row["stride"], "stride", where)
    out, padding = zip(
        *(_output(count[axis], tap, stride, row["padding"], where) for axis, tap in zip("HW", taps, strict=True)),
        strict=True,
    )
    groups = count["K"] if kind == "depthwise" else count["groups"]
    if kind == "depthwise" and count["K"] != count["C"]:
        raise ModelError(f"{where}: K: a depthwise layer has as many output channels as input channels")
    if count["C"] % groups or count["K"] % groups:
        raise ModelError(f"{where}: groups: {groups} does not divide C and K")
    is_depthwise = kind == "depthwise" or (groups == count["C"] == count["K"] and groups > 1)
    return LoopNest(
        name=row["name"],
        kind="depthwise" if is_depthwise else "conv",
        N=count["batch"],
        K=count["K"] if is_depthwise else count["K"] // groups,
        C=1 if is_depthwise else count["C"] // groups,
        P=out[0],
        Q=out[1],
        R=taps[0],
        S=taps[1],
        H=count["H"],
        W=count["W"],
        stride=(stride, stride),
        padding=(padding[0], padding[1]),
        repeats=1 if is_depthwise else groups,
    )


def _output(extent: int, taps: int, stride: int, padding: str, where: str) -> tuple[int, int]:
    """Return output size and leading padding along one axis."""
    if padding == "same":
        size = -(-extent // stride)
        return size, max((size - 1) * stride + taps - extent, 0) // 2
    each = 0 if padding == "valid" else whole(padding, "padding", where, least=0)
    if extent + 2 * each < taps:
        raise ModelError(f"{where}: the filter ({taps}) is larger than the padded input ({extent + 2 * each})")
    return (extent + 2 * each - taps) // stride + 1, each
