"""Do no harm, for throughput: plans and single devices answer requests in turn, and the highest rate is delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mosaic_onnx.backends.base import Array, Backend
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.planning.candidates import Candidate
from mosaic_onnx.planning.contest import Contest, Effort
from mosaic_onnx.profiling.interleaved import InterleavedTimings
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine, PlanToRun, RateEffort
from mosaic_onnx.profiling.whole_plans.rates import measure_rates

LEAST_S, MOST_S = 0.25, 2.0
"""One measurement takes so long at least, and at most."""
REQUESTS = 15
"""Requests, one after the other, whose time one measurement should have."""
LEAST_ROUNDS, MOST_ROUNDS = 5, 9


def contest_by_rate(
    candidates: Sequence[Candidate],
    devices: Mapping[str, Device],
    backends: Mapping[str, Backend],
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    effort: Effort | None = None,
    refused: Mapping[str, str] | None = None,
) -> Contest:
    """Measure the candidates' requests a second in turn and say which to deliver.

    Args:
        candidates: plans, and single devices.
        devices: by name.
        backends: by name.
        inputs: of every request.
        outputs: the names of the model's outputs.
        effort: how long to measure.
        refused: candidates that may not be delivered, with the reason; they do not run.

    Returns:
        The contest; its timings are seconds a request.

    Raises:
        BackendError: no candidate runs.
    """
    failed: dict[str, str] = dict(refused or {})
    running: dict[str, PlanToRun] = {}
    same_as: dict[str, str] = {}
    for one in candidates:
        known = next((other for other in running if _same(running[other].plan, one.plan)), None)
        if known is None:
            running[one.name] = PlanToRun(one.plan, one.tuned, one.devices)
        else:
            same_as[one.name] = known
    rates = _effort(running, effort or Effort())
    timed = measure_rates(running, Machine(devices, backends), inputs, outputs, rates)
    failed |= timed.failed
    if timed.timings is None:
        raise BackendError(f"no plan runs: {'; '.join(failed.values())}", "see `mosaic-onnx devices`")
    return judged_by_rate(timed.timings, failed, [one for one in candidates if one.name not in same_as])


def judged_by_rate(timings: InterleavedTimings, failed: Mapping[str, str], candidates: Sequence[Candidate]) -> Contest:
    """Return who wins: the best plan where it is surely better than every single device, else the best of those."""
    names = [one.name for one in candidates if one.name in timings.seconds]
    whole = {one.name for one in candidates if _is_one_device(one.plan)}
    plans, singles = [name for name in names if name not in whole], [name for name in names if name in whole]
    if not singles or not plans:
        best = min(names, key=timings.median_s)
        words = "no single device can run the whole model" if not singles else "no plan over several devices runs"
        return Contest(best, words, timings, failed=failed, is_rate=True)
    plan, single = min(plans, key=timings.median_s), min(singles, key=timings.median_s)
    ratio = timings.ratio(plan, single)
    if ratio.high < 1:
        words = f"{1 / ratio.value:.3g} times the requests a second of {single}, the best single device"
        return Contest(plan, words, timings, ratio, failed, is_rate=True)
    words = f"no plan answers surely more requests a second than {single} alone ({ratio.low:.3f}–{ratio.high:.3f})"
    return Contest(single, words, timings, ratio, failed, is_rate=True)


def with_measured_interval(plan: Plan, interval_s: float) -> Plan:
    """Return a plan for throughput that is predicted to take a request every so many seconds.

    A bound that was proved for other costs, and lies above what was measured, is left out.
    """
    predicted = replace(plan.predicted, interval_seconds=interval_s)
    bound = plan.bound if plan.bound is not None and plan.bound.value <= interval_s else None
    gap = interval_s / bound.value - 1 if bound is not None and bound.value > 0 else None
    return replace(plan, predicted=predicted, bound=bound, gap=gap)


def _same(one: Plan, other: Plan) -> bool:
    places = [[(each.layers, each.state) for each in plan.slices] for plan in (one, other)]
    return places[0] == places[1] and one.replicas == other.replicas


def _is_one_device(plan: Plan) -> bool:
    return not plan.replicas and len({device_of(one.state) for one in plan.slices}) == 1


def _effort(running: Mapping[str, PlanToRun], effort: Effort) -> RateEffort:
    """Return how long to measure so many candidates within the budget."""
    slowest_s = max((one.plan.predicted.seconds for one in running.values()), default=0.0)
    seconds = min(MOST_S, max(LEAST_S, REQUESTS * slowest_s))
    rounds = int(effort.budget_s / (seconds * max(1, len(running))))
    return RateEffort(min(MOST_ROUNDS, effort.round_count, max(LEAST_ROUNDS, rounds)), seconds)
