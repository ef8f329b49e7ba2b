"""Loaded plans run and timed in this process: by a child, or by the parent where no device must be isolated."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.graph.signature import TensorSpec
from mosaic_onnx.profiling.interleaved import InterleavedTimings, measure_interleaved
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine, PlanToRun, RateEffort, Rounds
from mosaic_onnx.runtime.executor import Executor
from mosaic_onnx.runtime.plan_session import open_session
from mosaic_onnx.runtime.repeated_runs import SETTLE_S, settle
from mosaic_onnx.runtime.request_rates import rate_at_load
from mosaic_onnx.runtime.session import Session
from mosaic_onnx.runtime.trace import Trace


def measured(calls: Mapping[str, Callable[[], object]], rounds: Rounds) -> InterleavedTimings:
    """Time calls in turn."""
    return measure_interleaved(
        calls,
        round_count=rounds.round_count,
        repeat_count=rounds.repeat_count,
        repeat_s=rounds.repeat_s,
        warmup_count=min(2, rounds.repeat_count),
        budget_s=rounds.budget_s,
        stop=rounds.stop,
    )


def run_repeatedly(program: Executor, inputs: Mapping[str, Array], warmup_count: int, count: int) -> tuple[float, ...]:
    """Return the seconds of each of ``count`` runs, after some that are not timed: none where ``warmup_count`` is 0."""
    for _ in range(warmup_count):
        program.run(inputs)
    if warmup_count:
        settle(lambda: program.run(inputs))
    seconds = []
    for _ in range(count):
        began_s = time.perf_counter()
        program.run(inputs)
        seconds.append(time.perf_counter() - began_s)
    return tuple(seconds)


def watch(program: Executor, inputs: Mapping[str, Array], seconds: float, min_runs: int, max_runs: int) -> list[Trace]:
    """Return the traces of as many runs as fit the time, within the limits."""
    settle(lambda: program.run(inputs))
    watched: list[Trace] = []
    until = time.perf_counter() + seconds
    while len(watched) < max_runs and (len(watched) < min_runs or time.perf_counter() < until):
        watched.append(program.run_timed(inputs)[1])
    return watched


def session_of(one: PlanToRun, machine: Machine, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Session:
    """Load a plan as a session.

    Raises:
        BackendError: a slice cannot be loaded.
    """
    specs = tuple(TensorSpec(name, "", array.shape) for name, array in inputs.items())
    made = tuple(TensorSpec(name, "") for name in outputs)
    return open_session(one.slices, one.plan, {**machine.devices, **one.overrides}, machine.backends, specs, made)


def rates_in_turn(
    sessions: Mapping[str, Session], inputs: Mapping[str, Array], effort: RateEffort
) -> InterleavedTimings:
    """Keep each session as busy as it can be, in turn; seconds a request, a figure a round.

    A turn's first requests do not count, as in ``measure_interleaved``.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for name in sessions:  # the first requests find caches cold
        rate_at_load(sessions[name], inputs, 2 * sessions[name].in_flight_limit, effort.seconds / 4)
    names = list(sessions)
    for number in range(effort.round_count):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            session = sessions[name]
            rate_at_load(session, inputs, 2 * session.in_flight_limit, SETTLE_S)
            rate = rate_at_load(session, inputs, 2 * session.in_flight_limit, effort.seconds)
            seconds[name].append(1 / rate.requests_per_second)
    return InterleavedTimings({name: tuple(values) for name, values in seconds.items()}, 1)
