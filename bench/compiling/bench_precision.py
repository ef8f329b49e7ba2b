"""Plans under an error budget, with a bfloat16 device, against ONNX Runtime's f32 and the best single device.

Devices of one thread. Single devices count if their measured error keeps the budget. Where mixed precision gains
nothing under the tight budget, the note lists the layers whose errors alone exceed it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.measuring import PLAN, delivered_calls, geometric_row, interleaved, one_thread, ratio_row
from bench.report import Row
from bench.workloads import EVERY, Workload, absent, classic, paper
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.pipeline.compilation import Compilation, compile_model
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.profiling.interleaved import InterleavedTimings, Ratio

DEVICES = FULL, OPENVINO, LOW = "cpu", "openvino", "openvino-bf16"
BUDGETS = 1e-2, 1e-3
CNNS = "squeezenet", "inception_v1", "resnet50", "inception_v2", "densenet121"
SOME_PAPER = "mobilenet_v2_1.0", "inception_v4"
ONE = Ratio(1.0, 1.0, 1.0)


@dataclass
class _Seen:
    """The ratios of all models under one budget."""

    full: dict[str, Ratio] = field(default_factory=dict)
    best: dict[str, Ratio] = field(default_factory=dict)


def run(quick: bool) -> list[Row]:
    if absent():
        return [Row("precision", float("nan"), "ratio", note=absent())]
    selection = one_thread(*DEVICES)
    if LOW not in selection.by_name:
        return [Row("precision", float("nan"), "ratio", note="skipped: this CPU has no bfloat16 device")]
    rows: list[Row] = []
    seen = {budget: _Seen() for budget in BUDGETS}
    with tempfile.TemporaryDirectory() as name:
        models = list(classic(("squeezenet",) if quick else CNNS, Path(name)))
        models += [] if quick else paper(SOME_PAPER if EVERY else SOME_PAPER[:1], Path(name))
        for model in models:
            cache = Cache(Path(name) / f"{model.name}.cache")
            for budget in BUDGETS:
                rows += _model(model, selection, cache, budget, seen[budget], 5 if quick else 15)
    return rows + list(_means(seen))


def _model(
    model: Workload, selection: Selection, cache: Cache, budget: float, seen: _Seen, rounds: int
) -> Iterator[Row]:
    try:
        compiled = compile_model(model.path, selection, cache, request=Request(max_error=budget))
    except MosaicError as error:
        yield Row(f"{model.name}, {budget:g}: not compiled", float("nan"), "ratio", note=error.message)
        return
    with ExitStack() as stack:
        timings = interleaved(delivered_calls(compiled, stack), rounds)
    yield from _rows(f"{model.name}, {budget:g}", compiled, timings, budget, seen)


def _rows(name: str, compiled: Compilation, timings: InterleavedTimings, budget: float, seen: _Seen) -> Iterator[Row]:
    if compiled.state.precision is None:
        raise ValueError("compiled without a budget")
    truths = compiled.state.precision.measured
    words = f"true error {compiled.state.precision.truth.error:.2g}; {_split(compiled)}"
    keeping = [one for one in timings.seconds if one in truths and one != PLAN and truths[one].error <= budget]
    exact = min((FULL, OPENVINO), key=timings.median_s)
    best = min(keeping, key=timings.median_s)
    alone = compiled.state.contest.winner in keeping
    against_best = ONE if alone and compiled.state.contest.winner == best else timings.ratio(PLAN, best)
    seen.full[name], seen.best[name] = timings.ratio(PLAN, FULL), against_best
    yield ratio_row(f"{name}: compiled", timings, PLAN, FULL, note=words)
    if alone:
        note = f"delivered: {compiled.state.contest.winner} alone ({compiled.state.contest.reason})"
        interval = against_best.low, against_best.high
        yield Row(f"{name}: compiled", against_best.value, "ratio", 1.0, best, against_best.value, interval, note)
    else:
        yield ratio_row(f"{name}: compiled", timings, PLAN, best, 1.0, "best single device that keeps the budget")
    if budget == min(BUDGETS):
        yield ratio_row(
            f"{name}: compiled", timings, PLAN, exact, None, f"best f32 device; {_breakers(compiled, budget)}"
        )


def _split(compiled: Compilation) -> str:
    """Return the number of layers on each device, in words."""
    counts: dict[str, int] = {}
    for one in compiled.plan.slices:
        counts[device_of(one.state)] = counts.get(device_of(one.state), 0) + len(one.layers)
    placed = ", ".join(f"{count} on {device}" for device, count in counts.items())
    return f"{len(compiled.plan.slices)} slices, layers: {placed}"


def _breakers(compiled: Compilation, budget: float) -> str:
    """Return the layers that exceed the budget alone at low precision: number, time, and the worst."""
    found = []
    for layer in compiled.state.profile.layers:
        cost = layer.cost.get(LOW)
        if cost is not None and cost.error is not None and cost.error > budget:
            found.append((cost.error, layer.name))
    sums = sum(cost.error or 0.0 for layer in compiled.state.profile.layers if (cost := layer.cost.get(LOW)))
    worst = ", ".join(f"{name} {error:.2g}" for error, name in sorted(found, reverse=True)[:3])
    return f"{len(found)} layers break the budget alone ({worst or 'none'}); errors of all layers sum to {sums:.2g}"


def _means(seen: dict[float, _Seen]) -> Iterator[Row]:
    loose, tight = BUDGETS
    yield geometric_row(f"geometric mean, {loose:g}", list(seen[loose].full.values()), 0.62, FULL)
    yield geometric_row(f"geometric mean, {loose:g}", list(seen[loose].best.values()), 1.0, "best single device")
    yield geometric_row(f"geometric mean, {tight:g}", list(seen[tight].full.values()), None, FULL)
    yield geometric_row(f"geometric mean, {tight:g}", list(seen[tight].best.values()), 1.0, "best single device")
