"""The overhead of a session over a plain one, and requests per second on two cores.

Each core is a device of ONNX Runtime and, where it is installed, one of OpenVINO; of the two, one works at a time.
"""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.measuring import repeats
from bench.report import Row
from bench.workloads import Workload, absent, classic, corpus, paper
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.process.cpu_cores import usable_cores
from mosaic_onnx.discovery.selection import Selection, select
from mosaic_onnx.files.bundle import read_bundle
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.pipeline.compilation import compile_model
from mosaic_onnx.pipeline.delivery import deliver
from mosaic_onnx.pipeline.load_session import load_model
from mosaic_onnx.pipeline.open_bundle import bind_bundle
from mosaic_onnx.pipeline.throughput_benchmark import HINT, throughput_benchmark
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.profiling.interleaved import measure_interleaved

ADDED_S = 10e-6
ADDED_SHARE = 0.01
"""A session may add so much to one run of a plain session."""

MANY_TENSORS = ("silero_vad_ifless", "gpt2_tiny_ort", "qwen35_tiny_fp16_gqa", "opset23_coverage")
"""Models of less than a millisecond with up to 13 inputs and outputs, each of which a session checks."""


def run(quick: bool) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in corpus(MANY_TENSORS):
            rows.append(_overhead(model, 15 if quick else 31))
        for model in (*paper(("squeezenet",), folder), *classic(() if quick else ("resnet50",), folder)):
            rows.append(_overhead(model, 5 if quick else 15))
        if len(usable_cores()) < 2:
            return [*rows, Row("throughput", float("nan"), "ratio", note="skipped: one core only")]
        for model in paper(("squeezenet",), folder) if quick else classic(("resnet50",), folder):
            rows += _throughput(model, folder, 1.0 if quick else 3.0)
    return rows + ([Row("resnet50", float("nan"), "ratio", note=absent())] if absent() else [])


def _overhead(model: Workload, rounds: int) -> Row:
    """One run of a session against one of ``onnxruntime.InferenceSession``, both of one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    plain = onnxruntime.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
    session, normalised = load_model(model.path, _selection(Device("cpu", "onnxruntime", options={"threads": 1})))
    inputs = make_inputs(normalised)
    with session:
        calls = {"plain": lambda: plain.run(None, inputs), "session": lambda: session.run(None, inputs)}
        once_s = measure_interleaved(calls, round_count=3, repeat_count=1).median_s("plain")
        timings = measure_interleaved(calls, round_count=rounds, repeat_count=repeats(once_s))
    added_s = float(np.median(np.subtract(timings.seconds["session"], timings.seconds["plain"])))
    allowed_s = ADDED_S + ADDED_SHARE * timings.median_s("plain")
    note = f"plain {timings.median_s('plain') * 1e3:.3f} ms; median of {rounds} paired differences"
    return Row(f"{model.name}: a session adds", added_s * 1e6, "us", allowed_s * 1e6, "a plain session", note=note)


def _selection(*devices: Device) -> Selection:
    return replace(select(), chosen=devices, left_out=())


def _one_core_devices() -> tuple[Device, ...]:
    names = {"core": "onnxruntime", "openvino": "openvino"}
    if importlib.util.find_spec("openvino") is None:
        del names["openvino"]
    return tuple(
        Device(f"{name}{core}", backend, options={"threads": 1, "cores": str(core)})
        for name, backend in names.items()
        for core in usable_cores()[:2]
    )


def _throughput(model: Workload, folder: Path, seconds: float) -> list[Row]:
    """The planned throughput on two cores: predicted, one session, OpenVINO's hint on the same cores."""
    compiled = compile_model(model.path, _selection(*_one_core_devices()), request=Request(objective="throughput"))
    target = folder / f"{model.path.stem}.mosaic"
    deliver(compiled, target, force=True)
    bundle = bind_bundle(read_bundle(target), trust=True)
    done = throughput_benchmark(bundle, compiled.state.inputs, seconds)
    best = done.best.requests_per_second
    one = max(rate for name, rate in done.others.items() if name != HINT)
    plan = compiled.plan
    used = ", ".join(dict.fromkeys([*(one.state for one in plan.slices), *plan.replicas]))
    note = f"{best:.4g} requests/s at {done.best.outstanding_count} outstanding; {plan.method}: {used}"
    rows = [
        Row(f"{model.name}: predicted / measured", done.predicted_per_second / best, "ratio", 1.1, note=note),
        Row(f"{model.name}: measured / predicted", best / done.predicted_per_second, "ratio", 1.1),
        Row(f"{model.name}: one session / pipelined", one / best, "ratio", 1 / 1.7, "one one-core session", note=note),
    ]
    if plan.gap is not None:
        words = "what replicas of single slices could gain at most, by the profile"
        rows.append(Row(f"{model.name}: interval over the area bound", 1 + plan.gap, "ratio", note=words))
    if HINT in done.others:
        hint = done.others[HINT]
        rows.append(
            Row(f"{model.name}: hint / pipelined", hint / best, "ratio", 1.0, HINT, note=f"{hint:.4g} requests/s")
        )
    return rows
