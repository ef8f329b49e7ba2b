"""The partitioned file against its original in stock ONNX Runtime, and the passes on a model of 100,000 nodes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from bench.report import Row
from bench.workloads import SHARED
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.core.profiles import Profile, ProfileLayer
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.loading.model import open_model
from mosaic_onnx.loading.normalise import normalise
from mosaic_onnx.profiling.interleaved import measure_interleaved
from mosaic_onnx.rewriting.rewrite import partition, slice_models

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
DEVICES = (Device("cpu"), Device("other"))
SLICE_COUNT = 5
BAR = 1.02
"""Measured before: 0.99–1.02 of the original's time."""
T = TypeVar("T")


def run(quick: bool) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for path in _models(Path(folder), quick):
            rows += _against_original(path, Path(folder), 5 if quick else 21)
        rows += _large(Path(folder), 10_000 if quick else 100_000)
    return rows


def _models(folder: Path, quick: bool) -> Iterator[Path]:
    """Return classic networks with seeded weights, and a transformer of the corpus; none where that is absent."""
    tool = SHARED / "tools" / "fill_weights.py"
    for name in ("light_squeezenet",) if quick else ("light_squeezenet", "light_inception_v2", "light_resnet50"):
        if tool.is_file():
            target = folder / f"{name}.onnx"
            subprocess.run([sys.executable, tool, "light", LIGHT / f"{name}.onnx", target], check=True)
            yield target
    transformer = SHARED / "models" / "vespa_transformer_mlm.onnx"
    if transformer.is_file():
        yield transformer


def _forced(graph: LayerGraph) -> tuple[Profile, Plan]:
    """Return a plan with slices of equal numbers of layers on two devices in turn."""
    layers = tuple(ProfileLayer(each.name, each.inputs, each.outputs, nodes=each.nodes) for each in graph.layers)
    sizes = {name: info.bytes for name, info in graph.tensors.items()}
    profile = Profile("model", DEVICES, sizes, graph.inputs, graph.outputs, layers)
    ends = np.linspace(0, len(layers), min(SLICE_COUNT, len(layers)) + 1).round().astype(int).tolist()
    slices = tuple(Slice(tuple(range(*stretch)), DEVICES[at % 2].name) for at, stretch in enumerate(pairwise(ends)))
    return profile, Plan("latency", "sequential", "forced", slices, (), Predicted(0.0, None, 0.0))


def _against_original(path: Path, folder: Path, rounds: int) -> Iterator[Row]:
    """Yield latency of the partitioned file in one stock session of one thread, against the original's; same bits."""
    opened = open_model(path)
    normalised = normalise(opened)
    model = partition(opened.model, *_forced(layerize(normalised)))
    partitioned = folder / f"{path.stem}.partitioned.onnx"
    partitioned.write_bytes(model.SerializeToString())
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    feed = make_inputs(normalised.model)
    sessions = {
        name: ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        for name, file in (("partitioned", partitioned), ("original", path))
    }
    results = {name: session.run(None, feed) for name, session in sessions.items()}
    same = all(one.tobytes() == other.tobytes() for one, other in zip(*results.values(), strict=True))
    calls = {name: (lambda session=session: session.run(None, feed)) for name, session in sessions.items()}
    timings = measure_interleaved(calls, round_count=rounds, repeat_count=5, budget_s=60)
    ratio = timings.ratio("partitioned", "original")
    bits = "same bits" if same else "OTHER BITS"
    note = f"{SLICE_COUNT} slices, 1 thread, {bits}, ± {timings.spread('partitioned'):.1%}"
    name = f"{path.stem}, partitioned file in ONNX Runtime"
    yield Row(name, ratio.value, "ratio", BAR, "original", ratio.value, (ratio.low, ratio.high), note)


def _large(folder: Path, node_count: int) -> Iterator[Row]:
    """Yield CPU seconds of each pass on a chain of gated matrix products (children of the passes not counted)."""
    path = folder / "large.onnx"
    onnx.save(_gated_chain(node_count // 5), path)
    opened, seconds = _timed(lambda: open_model(path))
    rows = [("open", seconds)]
    normalised, seconds = _timed(lambda: normalise(opened))
    rows.append(("normalise", seconds))
    graph, seconds = _timed(lambda: layerize(normalised))
    rows.append((f"layerize to {len(graph.layers)} layers", seconds))
    profile, plan = _forced(graph)
    rows.append(("partition", _timed(lambda: partition(opened.model, profile, plan))[1]))
    rows.append(("slice models", _timed(lambda: slice_models(normalised.model, None, plan, profile))[1]))
    for name, wall_s in rows:
        yield Row(f"{name}, {node_count} nodes", wall_s, "s", note="wall, once, the checking child included")


def _gated_chain(count: int) -> onnx.ModelProto:
    """Return a chain of links of five nodes: product, bias, sigmoid, gate, residual."""
    nodes, last = [], "x"
    for number in range(count):
        inputs = [(last, "w"), (f"m{number}", "b"), (f"a{number}",), (f"a{number}", f"s{number}"), (last, f"g{number}")]
        for kind, read, made in zip(("MatMul", "Add", "Sigmoid", "Mul", "Add"), inputs, "masgr", strict=True):
            nodes.append(helper.make_node(kind, read, [f"{made}{number}"], f"{made}{number}"))
        last = f"r{number}"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "chain", [value("x", 1, [1, 4])], [value(last, 1, [1, 4])])
    graph.initializer.add(name="w", data_type=1, dims=[4, 4], raw_data=bytes(64))
    graph.initializer.add(name="b", data_type=1, dims=[4], raw_data=bytes(16))
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    start_s = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start_s
