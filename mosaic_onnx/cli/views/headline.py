"""The first words on a compilation: what was measured, against what users run today, then the best single device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mosaic_onnx.cli.views.tables import milliseconds
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.text.quantities import joules_text, seconds_text
from mosaic_onnx.planning.candidates import PLAN

if TYPE_CHECKING:
    from mosaic_onnx.core.plans import Plan
    from mosaic_onnx.pipeline.compilation import Compilation
    from mosaic_onnx.planning.candidates import Candidate
    from mosaic_onnx.profiling.interleaved import InterleavedTimings

NAMES = {"onnxruntime": "ONNX Runtime's default", "openvino": "OpenVINO's default"}
"""The users' name of a backend's default."""
SAME = 0.01
"""Relative: figures that differ by less are called the same."""


def headline(done: Compilation) -> str:
    """Return one line: the delivered figure and its comparisons; what is predicted is called so."""
    contest = done.state.contest
    if contest.timings is None or contest.winner not in contest.timings.seconds:
        return _predicted(done)
    timings, winner = contest.timings, contest.winner
    figure = milliseconds(timings.median_s(winner))
    if contest.is_rate:
        figure = f"one request every {figure} under full load,"
    words = [f"{figure} measured (± {timings.spread(winner):.0%})"]
    usual, single = _usual(done, timings), _best_single(done, timings)
    if usual is not None:
        words.append(_against(timings, winner, usual.name, _usual_name(done, usual)))
    if single is not None:
        words.append(_against(timings, winner, single.name, f"{single.name}, the best single device"))
    return "; ".join(words)


def _against(timings: InterleavedTimings, winner: str, other: str, called: str) -> str:
    """Return how the delivered one compares with another candidate, and what that took."""
    if winner == other:
        return f"that is {called}"
    ratio = timings.ratio(other, winner)
    took = milliseconds(timings.median_s(other))
    if ratio.low <= 1 <= ratio.high or abs(ratio.value - 1) < SAME:
        return f"as fast as {called} ({took}) within the spread"
    return f"{ratio.value:.2f} times as fast as {called} ({took}; {ratio.low:.2f}–{ratio.high:.2f})"


def _usual(done: Compilation, timings: InterleavedTimings) -> Candidate | None:
    """Return what users run today: ONNX Runtime's default where it was measured, else the fastest default."""
    here = [one for one in done.state.candidates if one.is_yardstick and one.name in timings.seconds]
    of_runtime = [one for one in here if _backend_of(done, one) == "onnxruntime"]
    return min(of_runtime or here, key=lambda one: timings.median_s(one.name), default=None)


def _best_single(done: Compilation, timings: InterleavedTimings) -> Candidate | None:
    """Return the fastest single device; None where that is what is delivered."""
    here = [
        one
        for one in done.state.candidates
        if not one.is_yardstick and one.name != PLAN and one.name in timings.seconds
    ]
    return min(here, key=lambda one: timings.median_s(one.name), default=None)


def _usual_name(done: Compilation, usual: Candidate) -> str:
    backend = _backend_of(done, usual)
    return NAMES.get(backend, f"{backend}'s default")


def _backend_of(done: Compilation, one: Candidate) -> str:
    return done.state.selection.by_name[device_of(one.plan.slices[0].state)].backend


def _predicted(done: Compilation) -> str:
    """Return the headline where no clock judged: simulated devices, or another objective than latency."""
    simulated = any(device.simulated for device in done.state.selection.chosen)
    figures = figures_text(done.plan)
    return f"{figures} predicted{', simulated' if simulated else ''}; {done.state.contest.reason}"


def figures_text(plan: Plan) -> str:
    """Return a plan's predicted figures, that of its objective first."""
    predicted = plan.predicted
    latency = seconds_text(predicted.seconds)
    energy = "" if predicted.joules is None else joules_text(predicted.joules)
    if plan.objective == "throughput":
        return f"one every {seconds_text(predicted.interval_seconds)}, latency {latency}"
    if plan.objective in ("energy", "edp") and energy:
        return f"{energy}, {latency}"
    return f"{latency}, {energy}" if energy else latency
