"""Timing one call on a machine that is never quiet: the minimum of many runs within a time budget."""

from __future__ import annotations

import heapq
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_AGREEING, _AGREEMENT = 3, 0.03
"""So many of the least runs must lie within this share of the least."""
_PATIENCE = 4.0


@dataclass(frozen=True)
class Budget:
    """How long to measure one thing.

    Other work on the machine only ever adds time, so the minimum is the figure and more runs only bring it down. A
    minimum that was reached once may be one that a quiet machine would go below: some runs must agree with it.

    Attributes:
        seconds: stop when this is spent, ``min_runs`` are done and the least runs agree; or when four times this is.
        min_runs: at least so many, however slow; a call slower than the whole budget is run only twice.
        max_runs: at most so many, however fast.
    """

    seconds: float = 0.03
    min_runs: int = 5
    max_runs: int = 200


@dataclass(frozen=True)
class Timing:
    """What came of it: the minimum is the figure, the median tells how noisy the machine was."""

    seconds: float
    median_s: float
    run_count: int


def time_call(call: Callable[[], None], budget: Budget, clock: Callable[[], float] = time.perf_counter) -> Timing:
    """Time a call that is complete when it returns; it should have run once before."""
    taken: list[float] = []
    started = clock()
    while True:
        before = clock()
        call()
        after = clock()
        taken.append(after - before)
        spent = after - started
        is_slow = taken[0] > budget.seconds
        is_enough = spent >= budget.seconds and len(taken) >= (2 if is_slow else budget.min_runs)
        if len(taken) >= budget.max_runs or (is_enough and (is_slow or _is_settled(taken, spent, budget))):
            return Timing(max(min(taken), 0.0), statistics.median(taken), len(taken))


def _is_settled(taken: Sequence[float], spent: float, budget: Budget) -> bool:
    """The least runs agree, or waiting for that has lasted long enough."""
    if spent >= _PATIENCE * budget.seconds:
        return True
    least = heapq.nsmallest(_AGREEING, taken)
    return len(least) == _AGREEING and least[-1] <= (1 + _AGREEMENT) * least[0]


def time_in_flight(
    start: Callable[[], None],
    barrier: Callable[[], None],
    budget: Budget,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time a call that only enqueues work: start and wait, less what the wait costs when there is nothing to wait for.

    Args:
        start: enqueues the work.
        barrier: returns when all enqueued work is done.
        budget: for the whole; a quarter of it goes to the idle wait.
        clock: seconds, never going back.
    """
    barrier()
    quarter = Budget(budget.seconds / 4, min(3, budget.min_runs), budget.max_runs)
    idle = time_call(barrier, quarter, clock)

    def start_and_wait() -> None:
        start()
        barrier()

    both = time_call(start_and_wait, budget, clock)
    return Timing(max(both.seconds - idle.seconds, 0.0), max(both.median_s - idle.median_s, 0.0), both.run_count)


def is_sane(seconds: float) -> bool:
    """A duration that may stand in a profile."""
    return math.isfinite(seconds) and seconds >= 0.0
