"""The cost of slicing on one device: forced, optimised slices against the original model in one session."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bench.measuring import CPU, forced, ratio_row, repeats
from bench.report import Row
from bench.workloads import Workload, absent, classic, paper
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.profiling.interleaved import measure_interleaved
from mosaic_onnx.rewriting.joint_optimise import Tune
from mosaic_onnx.runtime.executor import open_program

BARS = {2: 1.02, 5: 1.02, 20: 1.04}
"""Largest ratio to one session, by number of slices."""


def run(quick: bool) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if absent():
            rows.append(Row("slicing tax", float("nan"), "ratio", note=absent()))
        models = list(classic(("squeezenet",) if quick else ("resnet50", "inception_v2"), folder))
        models += [] if quick else paper(("inception_v4",), folder)
        for model in models:
            rows += _tax(model, 7 if quick else 21)
    return rows


def _tax(model: Workload, rounds: int) -> Iterator[Row]:
    devices, backends = {"cpu": CPU}, {"onnxruntime": BACKEND}
    with ExitStack() as stack:
        programs = {}
        for count in (1, *BARS):
            normalised, plan, slices = forced(model.path, count, "cpu")
            tuned = Tune(devices, backends)(normalised.model, normalised.folder, plan, slices)
            inputs = make_inputs(normalised.model)
            names = {"inputs": tuple(inputs), "outputs": tuple(one.name for one in normalised.model.graph.output)}
            programs[len(slices)] = stack.enter_context(open_program(tuned, plan, devices, backends, **names))
        outputs = {count: program.run(inputs) for count, program in programs.items()}
        calls = {str(count): (lambda program=program: program.run(inputs)) for count, program in programs.items()}
        whole_s = measure_interleaved({"1": calls["1"]}, round_count=3, repeat_count=1).median_s("1")
        timings = measure_interleaved(calls, round_count=rounds, repeat_count=repeats(whole_s))
    for count in list(programs)[1:]:
        same = all(np.array_equal(outputs[count][key], array) for key, array in outputs[1].items())
        bits = "outputs bit-equal" if same else "OUTPUTS DIFFER"
        bar = BARS.get(count) if same else 0.0
        yield ratio_row(f"{model.name}, {count} slices", timings, str(count), "1", bar, f"1 thread, {bits}")
