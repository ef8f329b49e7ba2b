"""Large models, compiled by the command itself: 100,000 nodes; more than 2 GiB of external weights.

Each compilation is a process of its own (``large_child``). The node bar counts this project's own CPU seconds: the
time of ONNX Runtime and OpenVINO is subtracted, and that of the children that parse, check and infer is in the note.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bench.report import Row

NODE_COUNT, NODES_A_BLOCK = 100_000, 4
CPU_BAR_S, MEMORY_BAR_MIB = 60.0, 4096.0
LAYER_COUNT, WIDTH = 40, 4096
"""Square products whose weights come to 2.5 GiB; rows beyond the first are holes, which need no disk space."""
SEEDED_ROWS = 64


def run(quick: bool) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder, nodes = Path(name), NODE_COUNT // (10 if quick else 1)
        onnx.save(deep(nodes), folder / "deep.onnx")
        rows += _compiled(folder / "deep.onnx", f"{nodes:,} nodes", ("-d", "hikey970"), True)
        if not quick:
            rows += _compiled(folder / "deep.onnx", f"{nodes:,} nodes", (), False)
        layers = LAYER_COUNT // (10 if quick else 1)
        heavy(folder, layers)
        size = f"{layers * WIDTH * WIDTH * 4 / 2**30:.2g} GiB of external weights"
        rows += _compiled(folder / "heavy.onnx", size, ("-d", "hikey970"), False)
        if not quick:
            rows += _compiled(folder / "heavy.onnx", size, (), False)
    return rows


def _compiled(path: Path, what: str, words: Sequence[str], has_bars: bool) -> Iterator[Row]:
    where = " ".join(words) or "the default devices"
    command = [
        sys.executable,
        "-m",
        "bench.compiling.large_child",
        str(path),
        "-o",
        str(path.with_suffix(".mosaic")),
        *words,
    ]
    environment = {**os.environ, "MOSAIC_CACHE_DIR": str(path.parent / "cache")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=Path(__file__).parents[2]
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        yield Row(f"{what} on {where}: FAILED", float("inf"), "s", CPU_BAR_S, note=reason)
        return
    seen: dict[str, Any] = json.loads(lines[-1])
    note = (
        f"the command, one run; {seen['wall_s']:.0f} s on the clock; {seen['vendor_cpu_s']:.1f} s of CPU inside "
        f"sessions and {seen['child_cpu_s']:.1f} s in children are not in the figure"
    )
    yield Row(f"{what} on {where}: CPU", seen["cpu_s"], "s", CPU_BAR_S if has_bars else None, note=note)
    held, resident = seen["anonymous_bytes"] / 2**20, seen["rss_bytes"] / 2**20
    note = f"the compiling process; {held:.0f} MiB of it its own, the rest mapped files"
    yield Row(f"{what} on {where}: peak memory", resident, "MiB", MEMORY_BAR_MIB if has_bars else None, note=note)


def deep(node_count: int) -> onnx.ModelProto:
    """Return blocks of product, Tanh, gate and residual in a row, with seeded weights."""
    random, width = np.random.default_rng(0), 8
    nodes, weights, last = [], [], "x"
    for block in range(node_count // NODES_A_BLOCK):
        weights.append(
            numpy_helper.from_array(random.standard_normal((width, width)).astype(np.float32) / 8, f"w{block}")
        )
        for kind, read, made in (
            ("MatMul", [last, f"w{block}"], f"m{block}"),
            ("Tanh", [f"m{block}"], f"t{block}"),
            ("Mul", [f"t{block}", f"m{block}"], f"g{block}"),
            ("Add", [f"g{block}", last], f"x{block}"),
        ):
            nodes.append(helper.make_node(kind, read, [made], f"block{block}/{kind.lower()}"))
        last = f"x{block}"
    return _model(nodes, weights, last, width)


def heavy(folder: Path, layer_count: int) -> None:
    """Write ``heavy.onnx`` and its weights: each layer's tensor in one sparse file, its first rows seeded."""
    random, size = np.random.default_rng(0), WIDTH * WIDTH * 4
    nodes, weights, last = [], [], "x"
    with (folder / "heavy.bin").open("wb") as file:
        for layer in range(layer_count):
            file.seek(layer * size)
            file.write((random.standard_normal((SEEDED_ROWS, WIDTH)) / 8).astype(np.float32).tobytes())
            tensor = onnx.TensorProto(name=f"w{layer}", data_type=1, dims=[WIDTH, WIDTH], data_location=1)
            for key, value in (("location", "heavy.bin"), ("offset", layer * size), ("length", size)):
                tensor.external_data.add(key=key, value=str(value))
            weights.append(tensor)
            nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"m{layer}"], f"layer{layer}/matmul"))
            nodes.append(helper.make_node("Tanh", [f"m{layer}"], [f"t{layer}"], f"layer{layer}/tanh"))
            last = f"t{layer}"
        file.truncate(layer_count * size)
    (folder / "heavy.onnx").write_bytes(_model(nodes, weights, last, WIDTH).SerializeToString())


def _model(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], last: str, width: int) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "large", [value("x", 1, [1, width])], [value(last, 1, [1, width])], weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
