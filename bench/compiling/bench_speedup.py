"""Compilation plans against every single device, ONNX Runtime by provider priority, OpenVINO HETERO, and the ideal.

Devices of one thread and of the models' own precision. The *ideal* is the sum over layers of the fastest device's
measured time, without transfers: no placement of these layers can be faster. Where it shows little to gain,
not being slower is the bar.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.measuring import PLAN, Calls, delivered_calls, geometric_row, interleaved, one_thread, ratio_row
from bench.report import Row
from bench.workloads import CLASSIC, CORPUS, EVERY, PAPER, Workload, absent, classic, corpus, paper
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.pipeline.compilation import Compilation, compile_model
from mosaic_onnx.profiling.interleaved import InterleavedTimings, Ratio

PRIORITY, HETERO = "ONNX Runtime by provider priority", "OpenVINO HETERO"
ONE_OPERATOR = ("inception_v1", "bvlc_alexnet", "zfnet512")
"""Models with an operator (LRN) that is far slower on one runtime."""
SHORTEST_S = 1e-3
"""Faster models are left out: their figures would show the clock more than the plan."""


@dataclass
class _Seen:
    """The ratios of all models."""

    best_single: dict[str, Ratio] = field(default_factory=dict)
    priority: dict[str, Ratio] = field(default_factory=dict)
    ideal: dict[str, Ratio] = field(default_factory=dict)
    errors: list[float] = field(default_factory=list)


def run(quick: bool) -> list[Row]:
    rows: list[Row] = [Row("classic networks", float("nan"), "ratio", note=absent())] if absent() else []
    selection, seen = one_thread("cpu", "openvino"), _Seen()
    with tempfile.TemporaryDirectory() as name:
        for model in _models(Path(name), quick):
            try:
                rows += _model(model, selection, seen, 5 if quick else 15)
            except MosaicError as error:
                rows.append(Row(f"{model.name}: not compiled", float("nan"), "ratio", note=error.message))
    return rows + list(_means(seen))


def _models(folder: Path, quick: bool) -> Iterator[Workload]:
    if quick:
        yield from classic(("squeezenet", "inception_v1"), folder)
        return
    yield from classic(CLASSIC, folder)
    yield from paper(PAPER if EVERY else PAPER[:3], folder)
    yield from corpus(CORPUS)


def _model(model: Workload, selection: Selection, seen: _Seen, rounds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as cache:
        compiled = compile_model(model.path, selection, Cache(Path(cache)))
    with ExitStack() as stack:
        timings = interleaved(delivered_calls(compiled, stack) | _others(model, compiled), rounds)
    yield from _rows(model, compiled, timings, seen)


def _others(model: Workload, compiled: Compilation) -> Calls:
    """Return the runtimes' own ways to distribute a model over devices, with one thread each."""
    import onnxruntime as ort

    inputs = dict(compiled.state.inputs)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.path, options, providers=ort.get_available_providers())
    calls: Calls = {PRIORITY: lambda: session.run(None, inputs)}
    if "openvino" in compiled.state.selection.by_name:
        import openvino

        configuration = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        try:
            network = openvino.Core().read_model(model.path)
            network.reshape({name: list(array.shape) for name, array in inputs.items()})
            request = openvino.Core().compile_model(network, "HETERO:CPU", configuration).create_infer_request()
            request.infer(inputs)
        except RuntimeError:
            return calls  # it cannot run the model: the device's reasons tell why
        calls[HETERO] = lambda: request.infer(inputs)
    return calls


def _rows(model: Workload, compiled: Compilation, timings: InterleavedTimings, seen: _Seen) -> Iterator[Row]:
    singles = [name for name in timings.seconds if name in compiled.state.selection.by_name]
    best = min(singles, key=timings.median_s) if singles else PRIORITY
    devices = {device_of(one.state) for one in compiled.plan.slices}
    words = f"{len(compiled.plan.slices)} slices on {', '.join(sorted(devices))}"
    counts = timings.median_s(best) >= SHORTEST_S
    if len(devices) == 1 and len(compiled.plan.slices) == 1:
        one = Ratio(1.0, 1.0, 1.0)
        note = (
            f"delivered: {compiled.state.contest.winner} alone, which counts as 1.00 ({compiled.state.contest.reason})"
        )
        yield Row(f"{model.name}: compiled", 1.0, "ratio", 1.01, best, 1.0, (1.0, 1.0), note)
    else:
        one = timings.ratio(PLAN, best)
        bar = 1.01 if counts else None
        yield ratio_row(f"{model.name}: compiled", timings, PLAN, best, bar, f"{words}; best single device")
    for other in (PRIORITY, HETERO):
        if other in timings.seconds:
            yield ratio_row(f"{model.name}: compiled", timings, PLAN, other)
    ideal = _against_ideal(compiled, timings)
    yield Row(
        f"{model.name}: compiled",
        ideal.value,
        "ratio",
        None,
        "the ideal",
        ideal.value,
        (ideal.low, ideal.high),
        _ideal_words(compiled),
    )
    error = compiled.plan.predicted.seconds / timings.median_s(PLAN) - 1
    yield Row(f"{model.name}: predicted latency off by", error, "ratio", None, "measured", note="signed")
    if counts:
        seen.best_single[model.name], seen.ideal[model.name] = one, ideal
        seen.priority[model.name] = timings.ratio(PLAN, PRIORITY)
        seen.errors.append(abs(error))


def _ideal_s(compiled: Compilation) -> float:
    """Sum over layers of the fastest device's seconds."""
    costs = ([cost.seconds for cost in layer.cost.values() if cost] for layer in compiled.state.profile.layers)
    return sum(min(one) for one in costs if one)


def _against_ideal(compiled: Compilation, timings: InterleavedTimings) -> Ratio:
    """Return measured over ideal, with the spread of the measured median as interval, without the profile's error."""
    ideal_s, median_s = _ideal_s(compiled), timings.median_s(PLAN)
    off = timings.spread(PLAN) / len(timings.seconds[PLAN]) ** 0.5 * 2
    value = median_s / ideal_s if ideal_s else float("nan")
    return Ratio(value, value * (1 - off), value * (1 + off))


def _ideal_words(compiled: Compilation) -> str:
    """Return the possible gain in words, with the layers where another device gains most over the best single one."""
    alone = compiled.single_predicted
    if not alone:
        return "no single device runs the model"
    best = min(alone, key=alone.__getitem__)
    gains = []
    for layer in compiled.state.profile.layers:
        own = layer.cost.get(best)
        fastest = min((cost.seconds for cost in layer.cost.values() if cost), default=0.0)
        if own is not None and own.seconds > fastest:
            gains.append((own.seconds - fastest, layer.name))
    top = ", ".join(f"{name} {seconds * 1e3:.2f} ms" for seconds, name in sorted(gains, reverse=True)[:3])
    share = 1 - _ideal_s(compiled) / alone[best]
    return f"the ideal is {_ideal_s(compiled) * 1e3:.3f} ms, {share:.1%} below {best} alone ({top or 'nowhere'})"


def _means(seen: _Seen) -> Iterator[Row]:
    far = [name for name in ONE_OPERATOR if name in seen.best_single]
    yield geometric_row("geometric mean, all models", list(seen.best_single.values()), None, "best single device")
    some = "models where an operator is far slower on one runtime"
    yield geometric_row(f"geometric mean, {some}", [seen.best_single[n] for n in far], 0.97, "best single device")
    yield geometric_row(f"geometric mean, {some}", [seen.priority[n] for n in far], 0.60, PRIORITY)
    yield geometric_row("geometric mean, all models", list(seen.ideal.values()), 1.04, "the ideal")
    if seen.errors:
        mean = sum(seen.errors) / len(seen.errors)
        note = f"{len(seen.errors)} plans; 3 % is the paper's figure"
        yield Row("predicted latency, mean error", mean, "ratio", 0.03, "measured", note=note)
