"""The time of ``compile``, with an empty and a filled cache of measurements; the comparison of candidates apart."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from bench.report import Row
from bench.workloads import Workload, absent, classic
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.discovery.selection import select
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.pipeline.compilation import compile_model
from mosaic_onnx.pipeline.delivery import deliver
from mosaic_onnx.planning import choose
from mosaic_onnx.planning.contest import Contest, contest

BARS_S = {"cold": 60.0, "warm": 5.0}
WARM_RUNS = 3


def run(quick: bool) -> list[Row]:
    if absent():
        return [Row("compile", float("nan"), "s", note=absent())]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for model in classic(("squeezenet",) if quick else ("squeezenet", "resnet50"), Path(name)):
            rows += _model(model, Path(name))
    return rows


def _model(model: Workload, folder: Path) -> Iterator[Row]:
    cache, selection = Cache(folder / f"{model.name}.cache"), select()
    names = ", ".join(device.name for device in selection.chosen)
    for state, count in (("cold", 1), ("warm", WARM_RUNS)):
        figures = []
        for _ in range(count):
            with _contest_clock() as contest_s:
                began_s, began_cpu_s = time.perf_counter(), time.process_time()
                try:
                    compiled = compile_model(model.path, selection, cache)
                    deliver(compiled, folder / f"{model.name}.mosaic", force=True)
                except MosaicError as error:
                    yield Row(f"{model.name}: compile, {state}", float("nan"), "s", note=error.message)
                    return
                wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
            figures.append((wall_s - sum(contest_s), sum(contest_s), cpu_s))
        least_s, contest, cpu_s = min(figures)
        note = f"{names}; least of {count}; the contest took {contest:.1f} s more; {cpu_s:.1f} s of CPU in all"
        yield Row(f"{model.name}: compile, {state}, without the contest", least_s, "s", BARS_S[state], note=note)


@contextmanager
def _contest_clock() -> Iterator[list[float]]:
    """Measure the seconds that the comparison of candidates takes inside the context."""
    seconds: list[float] = []

    def timed(*args: Any, **words: Any) -> Contest:
        began_s = time.perf_counter()
        try:
            return contest(*args, **words)
        finally:
            seconds.append(time.perf_counter() - began_s)

    with mock.patch.object(choose, "contest", timed):
        yield seconds
    if not seconds:
        raise RuntimeError("no contest was timed: is it still called by this name?")
