"""Deliveries of default settings against what users run today, on the half of the corpus that no tuning looked at.

Each model is compiled by the command, with an empty cache, and timed in a process of its own: the delivered session, a
plain ONNX Runtime session and OpenVINO's default, in turn. What was measured is kept (``bench.records``).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.measuring import geometric_row
from bench.records import Records
from bench.report import Row
from bench.running.delivery_child import DELIVERED, ONNXRUNTIME, OPENVINO
from bench.workloads import CLASSIC, PAPER, SHARED, Workload, absent, classic, corpus, paper
from mosaic_onnx.profiling.interleaved import InterleavedTimings
from mosaic_onnx.report.headline import DEFAULT

SHORTEST_S = 1e-3
"""Models that ONNX Runtime runs in less are left out."""
NO_HARM = 1.01
MEAN_ERROR = 0.05
MODES: Mapping[str, Sequence[str]] = {"default": (), "--max-error 1e-2": ("--max-error", "1e-2")}
QUICK_MODELS = 3
COMPILE_LIMIT_S, TIMING_LIMIT_S = 900, 300
CONTEST_YARDSTICK = f"cpu{DEFAULT}"
"""The name in the contest of what a plain ONNX Runtime session does."""
_COMMAND = "import sys; from mosaic_onnx.cli import main; sys.exit(main())"
_YARDSTICKS = {ONNXRUNTIME: "a plain ONNX Runtime session", OPENVINO: "OpenVINO's default"}


def run(quick: bool) -> list[Row]:
    """Return the rows of all models of the half in all modes; ``quick``: a few small ones by default settings."""
    records = Records.of("delivery", quick=quick)
    rows: list[Row] = [Row("classic networks", float("nan"), "ratio", note=absent())] if absent() else []
    seen: dict[str, list[Mapping[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        models = list(_models(Path(name), quick))
        for mode in list(MODES)[: 1 if quick else None]:
            for model in models:
                figures = records.once(f"{model.name}, {mode}", lambda m=model, mode=mode: _measure(m, mode, quick))
                if "seconds" in figures and _timings(figures).median_s(ONNXRUNTIME) >= SHORTEST_S:
                    seen.setdefault(mode, []).append(figures)
                rows += _rows(f"{model.name}, {mode}", figures)
    for mode, measured in seen.items():
        rows += _means(mode, measured)
    return rows


def is_held_apart(name: str) -> bool:
    """Return whether a model belongs to the half that is measured: by the digest of its name."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def _models(folder: Path, quick: bool) -> Iterator[Workload]:
    names = sorted(path.stem for path in (SHARED / "models").glob("*.onnx") if not path.stem.endswith("_neg"))
    found = list(corpus(name for name in names if is_held_apart(name)))
    if quick:
        yield from sorted(found, key=lambda one: one.path.stat().st_size)[-QUICK_MODELS:]
        return
    yield from found
    yield from classic(filter(is_held_apart, CLASSIC), folder)
    yield from paper((name for name in PAPER if is_held_apart(f"paper's {name}")), folder)


def _measure(model: Workload, mode: str, quick: bool) -> Mapping[str, Any]:
    """Return what the child printed, or ``failure`` with the reason."""
    with tempfile.TemporaryDirectory() as name:
        target = Path(name) / "model.mosaic"
        environment = {**os.environ, "MOSAIC_CACHE_DIR": str(Path(name) / "cache"), "NO_COLOR": "1"}
        compiling = ["-c", _COMMAND, "compile", str(model.path), "-o", str(target), "--quiet", *MODES[mode]]
        done = _python(compiling, COMPILE_LIMIT_S, environment)
        if done.returncode:
            return {"failure": f"not compiled: {_last_line(done.stderr)}"}
        timing = ["-m", "bench.running.delivery_child", str(model.path), str(target), str(7 if quick else 21)]
        done = _python(timing, TIMING_LIMIT_S, environment)
        if done.returncode:
            return {"failure": f"not timed: {_last_line(done.stderr)}"}
        figures: Mapping[str, Any] = json.loads(done.stdout)
        return figures


def _python(words: Sequence[str], limit_s: float, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command, root = [sys.executable, *words], Path(__file__).parents[2]
    try:
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=limit_s, env=environment, cwd=root
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"longer than {limit_s} s")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no word"


def _timings(figures: Mapping[str, Any]) -> InterleavedTimings:
    seconds = {name: tuple(values) for name, values in figures["seconds"].items()}
    return InterleavedTimings(seconds, figures["repeat_count"])


def _rows(name: str, figures: Mapping[str, Any]) -> Iterator[Row]:
    if "failure" in figures:
        yield Row(name, float("nan"), "ratio", note=figures["failure"])
        return
    timings = _timings(figures)
    counts = timings.median_s(ONNXRUNTIME) >= SHORTEST_S
    states = ", ".join(dict.fromkeys(figures["slices"]))
    for yardstick in (ONNXRUNTIME, OPENVINO):
        if yardstick not in timings.seconds:
            continue
        ratio = timings.ratio(DELIVERED, yardstick)
        note = f"{timings.median_s(DELIVERED) * 1e3:.3f} ms, {len(figures['slices'])} slices on {states}"
        bar = NO_HARM if counts else None
        interval = (ratio.low, ratio.high)
        yield Row(name, ratio.value, "ratio", bar, _YARDSTICKS[yardstick], ratio.value, interval, note)
    error = figures["predicted_s"] / timings.median_s(DELIVERED) - 1
    yield Row(f"{name}: predicted off by", error, "share", note="signed")


def _means(mode: str, measured: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """Return the geometric means over the models and the mean error of the predictions."""
    all_timings = [_timings(figures) for figures in measured]
    for yardstick in (ONNXRUNTIME, OPENVINO):
        ratios = [one.ratio(DELIVERED, yardstick) for one in all_timings if yardstick in one.seconds]
        yield geometric_row(f"{mode}: geometric mean", ratios, None, _YARDSTICKS[yardstick])
    better = [one.ratio(DELIVERED, _faster(one)) for one in all_timings]
    yield geometric_row(f"{mode}: geometric mean", better, None, "the faster of both")
    errors = [
        abs(figures["predicted_s"] / one.median_s(DELIVERED) - 1)
        for figures, one in zip(measured, all_timings, strict=True)
    ]
    note = f"{len(errors)} models of {SHORTEST_S * 1e3:g} ms and more; median {sorted(errors)[len(errors) // 2]:.1%}"
    yield Row(f"{mode}: predicted off by, mean", math.fsum(errors) / len(errors), "share", MEAN_ERROR, note=note)
    yield from _drift(mode, measured)


def _drift(mode: str, measured: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """Return by how much the machine itself changed: plain ONNX Runtime here, and minutes before in the contest."""
    moved = [
        figures["contest_s"][CONTEST_YARDSTICK] / _timings(figures).median_s(ONNXRUNTIME) - 1
        for figures in measured
        if CONTEST_YARDSTICK in figures.get("contest_s", {})
    ]
    if moved:
        mean = math.fsum(map(abs, moved)) / len(moved)
        note = f"{len(moved)} models; plain ONNX Runtime in the contest against now, which no prediction knows"
        yield Row(f"{mode}: the machine moved by, mean", mean, "share", note=note)


def _faster(timings: InterleavedTimings) -> str:
    return min((name for name in (ONNXRUNTIME, OPENVINO) if name in timings.seconds), key=timings.median_s)
