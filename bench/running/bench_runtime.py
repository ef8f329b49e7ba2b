"""Costs of running a partition: overhead per slice, hand-over between devices, slicing, overlap, buffer memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import parser

from bench.report import Row
from bench.workloads import SHARED
from mosaic_onnx.backends.base import Array, SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.graph.graphs import is_constant, node_keys
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.plans import Plan, Predicted, Schedule, Slice
from mosaic_onnx.core.process.cpu_cores import usable_cores
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.loading.model import open_model
from mosaic_onnx.loading.normalise import normalise
from mosaic_onnx.profiling.interleaved import InterleavedTimings, measure_interleaved
from mosaic_onnx.rewriting.rewrite import extract
from mosaic_onnx.runtime.executor import Executor, open_program

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
MODELS = ("light_squeezenet", "light_inception_v2", "light_resnet50")
CPU = Device("cpu", backend="onnxruntime", options={"threads": 1})
KEEP = "slices as they are cut: cutting the optimised graph is another benchmark's row"


def run(quick: bool) -> list[Row]:
    rounds = 5 if quick else 21
    rows = [*_overhead(rounds), *_hand_over(rounds), *_overlap(rounds)]
    fill = _fill_weights()
    if fill is None:
        return [
            *rows,
            Row("slicing tax", float("nan"), "ratio", note="skipped: shared/tools/fill_weights.py is absent"),
        ]
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS[:1] if quick else MODELS:
            target = Path(folder) / f"{name}.onnx"
            subprocess.run([sys.executable, fill, "light", LIGHT / f"{name}.onnx", target], check=True)
            rows += _tax(name, target, (2, 5) if quick else (2, 5, 20), rounds)
    return rows


def _fill_weights() -> Path | None:
    tool = SHARED / "tools" / "fill_weights.py"
    return tool if tool.is_file() else None


def _open(
    slices: Sequence[SliceModel],
    devices: Mapping[str, Device],
    states: Sequence[str],
    schedule: Schedule = "sequential",
) -> Executor:
    planned = tuple(Slice((index,), state) for index, state in enumerate(states))
    plan = Plan("latency", schedule, "by hand", planned, (), Predicted(0.0, None, 0.0))
    made = {name for one in slices for name in one.outputs}
    read = dict.fromkeys(name for one in slices for name in one.inputs)
    inputs = [name for name in read if name not in made]
    outputs = [name for name in made if name not in read]
    return open_program(slices, plan, devices, {"onnxruntime": BACKEND}, inputs=inputs, outputs=outputs)


def _row(
    name: str, timings: InterleavedTimings, of: str, against: str, unit: str = "ms", scale: float = 1e3, note: str = ""
) -> Row:
    ratio = timings.ratio(of, against)
    seen = f"{len(timings.seconds[of])} rounds of the least of {timings.repeat_count}, ± {timings.spread(of):.1%}"
    interval = (ratio.low, ratio.high)
    words = "; ".join(filter(None, (note, seen)))
    return Row(name, timings.median_s(of) * scale, unit, None, against, ratio.value, interval, words)


def _chain(count: int) -> list[SliceModel]:
    """Return slices of one tiny node each."""
    text = '<ir_version: 8, opset_import: ["": 17]> s{0} (float[8] t{0}) => (float[8] t{1}) {{ t{1} = Neg(t{0}) }}'
    models = [parser.parse_model(text.format(index, index + 1)) for index in range(count)]
    return [SliceModel(model, None, (f"t{i}",), (f"t{i + 1}",)) for i, model in enumerate(models)]


def _overhead(rounds: int) -> Iterator[Row]:
    """Yield rows of the executor against the session calls of the same slices, and a plain ``session.run`` of each."""
    count = 50
    slices = _chain(count)
    x: dict[str, Array] = {"t0": np.ones(8, np.float32)}
    with ExitStack() as stack:
        program = stack.enter_context(_open(slices, {"cpu": CPU}, ["cpu"] * count))
        runners = [BACKEND.load(one, CPU) for one in slices]
        places = [np.ones(8, np.float32) for _ in range(count + 1)]
        calls = [each.bind({f"t{i}": places[i]}, {f"t{i + 1}": places[i + 1]}) for i, each in enumerate(runners)]

        def bare() -> None:
            for call in calls:
                call()

        def handed_over() -> None:
            value = x
            for runner in runners:
                value = runner.run(value)  # type: ignore[assignment]

        timings = measure_interleaved(
            {"executor": lambda: program.run(x), "bare calls": bare, "hand-over by session.run": handed_over},
            round_count=rounds,
            repeat_count=20,
        )
    each = 1e6 / count
    yield _row("a tiny slice, bound", timings, "executor", "bare calls", "µs", each, f"{count} slices")
    yield _row("a tiny slice, handed over", timings, "hand-over by session.run", "executor", "µs", each)


def _hand_over(rounds: int) -> Iterator[Row]:
    """Yield rows of two workers in turn: every slice waits for the other device's."""
    count = 50
    devices = {name: Device(name, backend="onnxruntime", options={"threads": 1}) for name in ("a", "b")}
    states = ["a", "b"] * (count // 2)
    x: dict[str, Array] = {"t0": np.ones(8, np.float32)}
    with _open(_chain(count), devices, states, "concurrent") as turns, _open(_chain(count), devices, states) as row:
        timings = measure_interleaved(
            {"concurrent": lambda: turns.run(x), "sequential": lambda: row.run(x)}, round_count=rounds, repeat_count=10
        )
    yield _row("a slice that waits for another worker", timings, "concurrent", "sequential", "µs", 1e6 / count)


def _overlap(rounds: int) -> Iterator[Row]:
    """Yield rows of two equal branches on two one-core devices."""
    cores = usable_cores()
    if len(cores) < 2:
        yield Row("two branches on two cores", float("nan"), "ratio", note="skipped: one core only")
        return
    size = 512
    head = '<ir_version: 8, opset_import: ["": 17]>'
    shape = f"float[{size}, {size}]"
    products = "\n".join(f"m{i + 1} = MatMul(m{i}, x)" for i in range(4))
    slices = []
    for name in "ab":
        nodes = products.replace("m0", "x").replace("m4", name)
        model = parser.parse_model(f"{head} {name} ({shape} x) => ({shape} {name}) {{ {nodes} }}")
        slices.append(SliceModel(model, None, ("x",), (name,)))
    join = parser.parse_model(f"{head} join ({shape} a, {shape} b) => ({shape} y) {{ y = Add(a, b) }}")
    slices.append(SliceModel(join, None, ("a", "b"), ("y",)))
    devices = {
        name: Device(name, backend="onnxruntime", options={"threads": 1, "cores": str(core)})
        for name, core in zip("ab", cores[:2], strict=True)
    }
    x: dict[str, Array] = {"x": np.random.default_rng(0).standard_normal((size, size)).astype(np.float32) / size}
    states = ["a", "b", "a"]
    with _open(slices, devices, states, "concurrent") as both, _open(slices, devices, states) as row:
        timings = measure_interleaved(
            {"concurrent": lambda: both.run(x), "sequential": lambda: row.run(x)}, round_count=rounds, repeat_count=3
        )
    yield _row("two branches on two cores", timings, "concurrent", "sequential", note="0.5 is full overlap")


def _tax(name: str, path: Path, counts: Sequence[int], rounds: int) -> Iterator[Row]:
    """Yield rows of forced slices on one device against one session, and the memory of the tensors between them."""
    normalised = normalise(open_model(path))
    graph = layerize(normalised)
    model, folder = normalised.model, normalised.folder
    inputs = make_inputs(model)
    keys = [key for key, node in zip(node_keys(model.graph), model.graph.node, strict=True) if not is_constant(node)]
    with ExitStack() as stack:
        whole = extract(model, folder, keys)
        programs = {"one session": stack.enter_context(_open([whole], {"cpu": CPU}, ["cpu"]))}
        for count in counts:
            slices = [extract(model, folder, nodes) for nodes in _equal_slices(graph, count)]
            programs[f"{len(slices)} slices"] = stack.enter_context(_open(slices, {"cpu": CPU}, ["cpu"] * len(slices)))
        calls = {label: (lambda program=program: program.run(inputs)) for label, program in programs.items()}
        timings = measure_interleaved(calls, round_count=rounds, repeat_count=3, budget_s=60)
        for label, program in list(programs.items())[1:]:
            yield _row(f"{name}, {label}, 1 thread", timings, label, "one session", note=KEEP)
            shared, apart = program.buffer_bytes / 2**20, program.unshared_buffer_bytes / 2**20
            note = "tensors between slices, shared by lifetime against each its own"
            yield Row(f"{name}, {label}, buffers", shared, "MiB", None, f"{apart:.2f} MiB", shared / apart, None, note)


def _equal_slices(graph: LayerGraph, count: int) -> list[list[str]]:
    """Return the nodes of slices of about equal numbers of layers."""
    ends = np.linspace(0, len(graph.layers), count + 1).round().astype(int)
    return [
        [key for layer in graph.layers[first:last] for key in layer.nodes]
        for first, last in pairwise(ends)
        if first < last
    ]
