"""Do no harm. The plan runs against every single device, in turn; the fastest is delivered.

Simulated devices are judged by the simulator's figures, not by a stopwatch: their real time means nothing. So are
devices of other machines, whose runs would be timed with the way there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mosaic_onnx.backends.base import Array, Backend
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.planner.core.request import TOLERANCE
from mosaic_onnx.planning.candidates import PLAN, Candidate, one_of_each, worth_running
from mosaic_onnx.profiling.interleaved import EarlyStop, InterleavedTimings, Ratio
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine, PlanToRun, Rounds
from mosaic_onnx.profiling.whole_plans.timing import time_plans

NO_HARM = 1.01
"""The delivered bundle's largest time as a share of a yardstick's, interval included."""
OPEN = 0.1
"""The share by which another candidate may be faster than the fastest before their contest says little."""


@dataclass(frozen=True)
class Contest:
    """The measurements of the contest and its winner.

    Attributes:
        winner: name of the candidate that is delivered.
        reason: why, in one sentence.
        timings: interleaved figures; None where nothing was measured.
        ratio: plan / best single device; None where nothing was measured.
        failed: candidates that could not run, with the reason.
        is_rate: the figures are seconds a request of many requests, not of one alone.
    """

    winner: str
    reason: str
    timings: InterleavedTimings | None = None
    ratio: Ratio | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    is_rate: bool = False


@dataclass(frozen=True)
class Effort:
    """The limits of the measurements.

    Attributes:
        round_count: rounds that are wanted.
        budget_s: no round starts after it, but three always run.
        stop: when the contest is decided earlier; None for never.
        repeat_count: runs of a candidate in a round, of which the least counts; at least so many.
        repeat_s: the runs of the slowest candidate in a round take about so long: short ones run more often.
        rivals: single devices that are predicted to take more than so many times the best one's seconds do not run.
        one_each: of a single device and its runtime's default only one runs (``one_of_each``).
    """

    round_count: int = 21
    budget_s: float = 8.0
    stop: EarlyStop | None = field(default_factory=lambda: EarlyStop(doubted=PLAN))
    repeat_count: int = 1
    repeat_s: float = 0.05
    rivals: float = float("inf")
    one_each: bool = False


def contest(
    candidates: Sequence[Candidate],
    devices: Mapping[str, Device],
    backends: Mapping[str, Backend],
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    effort: Effort | None = None,
    refused: Mapping[str, str] | None = None,
) -> Contest:
    """Run the candidates in turn and say which to deliver.

    The plan wins where its median is lower and the interval of the ratio lies below one; where the two cannot be told
    apart, the single device wins, being the simpler.

    Args:
        candidates: the plan (``PLAN``) and the single devices.
        devices: by name.
        backends: by name.
        inputs: the model's inputs.
        outputs: the names of the model's outputs.
        effort: how long to measure.
        refused: candidates that may not be delivered, with the reason; they do not run.

    Raises:
        BackendError: no candidate runs.
    """
    effort = effort or Effort()
    candidates = worth_running(candidates, effort.rivals)
    failed: dict[str, str] = dict(refused or {})
    twin = _twin(candidates)
    if effort.one_each:
        candidates = one_of_each(candidates)
    running = {
        one.name: PlanToRun(one.plan, one.tuned, one.devices) for one in candidates if not (twin and one.name == PLAN)
    }
    machine = Machine(devices, backends)
    rounds = Rounds(effort.round_count, effort.budget_s, effort.stop, effort.repeat_count, effort.repeat_s)
    timed = time_plans(running, machine, inputs, outputs, rounds)
    failed |= timed.failed
    timings = timed.timings
    if timings is None:
        raise BackendError(f"no plan runs: {'; '.join(failed.values())}", "see `mosaic-onnx devices`")
    if twin in failed:
        failed[PLAN] = failed[twin]
    elif twin in timings.seconds:
        timings = replace(timings, seconds={PLAN: timings.seconds[twin], **timings.seconds})
    yardsticks = {one.name: one.plan.predicted.seconds for one in candidates if one.is_yardstick}
    return judged(timings, failed, twin, yardsticks)


def _twin(candidates: Sequence[Candidate]) -> str:
    """The single device that the plan is nothing else than: it runs once for both; empty where there is none."""
    places = {
        one.name: [(each.layers, each.state) for each in one.plan.slices] for one in candidates if not one.is_yardstick
    }
    plan = places.pop(PLAN, None)
    return next((name for name, single in places.items() if single == plan), "")


def judged(
    timings: InterleavedTimings,
    failed: Mapping[str, str],
    twin: str = "",
    yardsticks: Mapping[str, float] | None = None,
) -> Contest:
    """Return who wins.

    What wins against the single devices is delivered only if it is surely no slower than what users run today: the
    interval of its ratio to the fastest yardstick must end at ``NO_HARM`` or below. Otherwise that is delivered.

    Args:
        timings: interleaved figures.
        failed: candidates that could not run, with the reason.
        twin: the single device that the plan is, where it is one; its runtime's default may have run for it.
        yardsticks: candidates that are what users run today, with their predicted seconds.
    """
    found = _best(timings, failed, twin)
    here = {name: seconds for name, seconds in (yardsticks or {}).items() if name in timings.seconds}
    if not here:
        return found
    usual = _fastest(timings, here)
    if found.winner in here:
        if usual == found.winner:
            return found
        reason = f"{usual} and {found.winner} cannot be told apart: the one that is predicted to be faster"
        return replace(found, winner=usual, reason=reason)
    ratio = timings.ratio(found.winner, usual)
    if ratio.high <= NO_HARM:
        return found
    reason = f"{found.winner} is not surely as fast as {usual} ({ratio.low:.3f}–{ratio.high:.3f}): what users run today"
    return replace(found, winner=usual, reason=reason)


def _fastest(timings: InterleavedTimings, predicted: Mapping[str, float]) -> str:
    """Return the fastest of some candidates; where noise hides which that is, the one that is clearly predicted to be.

    Args:
        timings: interleaved figures.
        predicted: their predicted seconds.
    """
    best = min(predicted, key=timings.median_s)
    promising = min(predicted, key=predicted.__getitem__)
    is_clear = predicted[promising] < (1 - OPEN) * predicted[best]
    return promising if is_clear and timings.ratio(promising, best).low < 1 - OPEN else best


def _best(timings: InterleavedTimings, failed: Mapping[str, str], twin: str) -> Contest:
    """Return who is fastest, the plan only where that is sure."""
    singles = [name for name in timings.seconds if name != PLAN]
    if PLAN not in timings.seconds:
        best = min(singles, key=timings.median_s)
        is_default = f"the plan is {twin} alone, which runs as its runtime does by default"
        reason = f"the plan is not delivered: {failed[PLAN]}" if PLAN in failed else is_default
        return Contest(best, reason, timings, failed=failed)
    if not singles:
        return Contest(PLAN, "no single device can run the whole model", timings, failed=failed)
    best = min(singles, key=timings.median_s)
    ratio = timings.ratio(PLAN, best)
    if ratio.high < 1:
        reason = f"{1 - ratio.value:.1%} faster than {best}, the best single device"
        return Contest(PLAN, reason, timings, ratio, failed)
    if best == twin:
        return Contest(best, f"the plan is {best} alone", timings, ratio, failed)
    if ratio.low <= 1:
        reason = f"the plan and {best} alone cannot be told apart ({ratio.low:.3f}–{ratio.high:.3f}): the simpler one"
        return Contest(best, reason, timings, ratio, failed)
    return Contest(best, f"the plan measured {ratio.value - 1:.1%} slower than {best} alone", timings, ratio, failed)


def contest_by_prediction(candidates: Sequence[Candidate], refused: Mapping[str, str] | None = None) -> Contest:
    """Judge by the simulator's figures: for simulated devices, and for objectives that no clock measures."""
    failed = dict(refused or {})
    figures = {one.name: _predicted(one.plan) for one in candidates}
    singles = [name for name in figures if name != PLAN]
    best = min(singles, key=figures.__getitem__) if singles else PLAN
    if best == PLAN:
        return Contest(PLAN, "no single device can run the whole model", failed=failed)
    if PLAN not in figures:
        return Contest(best, f"the plan is not delivered: {failed[PLAN]}", failed=failed)
    if figures[PLAN] < figures[best] * (1 - TOLERANCE):
        share = 1 - figures[PLAN] / figures[best]
        return Contest(
            PLAN, f"predicted (not measured) {share:.1%} better than {best}, the best single device", failed=failed
        )
    return Contest(
        best, f"the plan is predicted (not measured) to be no better than {best} alone: the simpler one", failed=failed
    )


def _predicted(plan: Plan) -> float:
    predicted = plan.predicted
    joules = float("inf") if predicted.joules is None else predicted.joules
    by_objective = {
        "latency": predicted.seconds,
        "throughput": predicted.interval_seconds,
        "energy": joules,
        "edp": joules * predicted.seconds,
    }
    return by_objective[plan.objective]
