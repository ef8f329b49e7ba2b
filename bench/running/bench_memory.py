"""Peak memory of a bundle's run against the original model in one session; each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np

from bench.measuring import one_thread
from bench.report import Row
from bench.workloads import Workload, absent, classic
from mosaic_onnx.pipeline.compilation import compile_model
from mosaic_onnx.pipeline.delivery import deliver
from mosaic_onnx.planner.core.request import Request

ROUNDS = 3


def run(quick: bool) -> list[Row]:
    if absent():
        return [Row("memory", float("nan"), "MiB", note=absent())]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for model in classic(("squeezenet",) if quick else ("squeezenet", "resnet50"), Path(name)):
            for count in (1, 20):
                rows += _model(model, count, Path(name) / f"{model.name}.{count}")
    return rows


def _model(model: Workload, slice_count: int, folder: Path) -> Iterator[Row]:
    folder.mkdir()
    request = Request(min_slice_count=slice_count)
    compiled = compile_model(model.path, one_thread("cpu"), request=request)
    deliver(compiled, folder / "model.mosaic")
    np.savez(folder / "inputs.npz", allow_pickle=False, **compiled.state.inputs)
    figures: dict[str, list[int]] = {"session": [], "bundle": []}
    for _ in range(ROUNDS):
        for kind, seen in figures.items():
            command = [sys.executable, "-m", "bench.running.memory_child", kind, str(folder / "model.mosaic")]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
            seen.append(json.loads(done.stdout)["peak"])
    ratios = [bundle / session for bundle, session in zip(figures["bundle"], figures["session"], strict=True)]
    note = f"peak of the whole process; median of {ROUNDS}; one session: {median(figures['session']) / 2**20:.0f} MiB"
    yield Row(
        f"{model.name}, {len(compiled.plan.slices)} slices: peak memory of a run",
        median(figures["bundle"]) / 2**20,
        "MiB",
        None,
        "one session",
        median(ratios),
        (min(ratios), max(ratios)),
        note,
    )
