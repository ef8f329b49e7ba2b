"""Timing one call on a machine that is never quiet: the least of many runs within a time budget.

Where the calling thread never waits in a run, the run takes no longer than all threads of this process held cores for:
with one thread that is exactly what it takes, however often others kept it from its core, so figures repeat on a busy
machine, where no long run goes undisturbed. Where it waits (for a device, for other threads), the wall clock counts.
"""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

try:
    from resource import RUSAGE_THREAD, getrusage
except ImportError:  # not Linux: the wall clock must do
    getrusage = None  # type: ignore[assignment]

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
    """What came of it: the least is the figure, the median of the wall clock tells how noisy the machine was."""

    seconds: float
    median_s: float
    run_count: int


@dataclass(frozen=True)
class Reading:
    """A look at the clocks.

    Attributes:
        wall_s: the wall clock.
        held_s: how long threads of this process have held cores; None where the system does not tell.
        wait_count: how often the calling thread has waited of its own accord.
    """

    wall_s: float
    held_s: float | None = None
    wait_count: int = 0


def read_before() -> Reading:
    """The clocks, the wall clock last: what reading the others takes stays out of the run."""
    if getrusage is None:
        return Reading(time.perf_counter())
    waits, held_s = getrusage(RUSAGE_THREAD).ru_nvcsw, time.process_time()
    return Reading(time.perf_counter(), held_s, waits)


def read_after() -> Reading:
    """The clocks, the wall clock first."""
    wall_s = time.perf_counter()
    if getrusage is None:
        return Reading(wall_s)
    return Reading(wall_s, time.process_time(), getrusage(RUSAGE_THREAD).ru_nvcsw)


@dataclass(frozen=True)
class Clocks:
    """How the clocks are read before and after a run."""

    before: Callable[[], Reading] = read_before
    after: Callable[[], Reading] = read_after


REAL = Clocks()


def undisturbed_s(before: Reading, after: Reading) -> float:
    """What a run took, less what others kept it from its core where that can be told."""
    wall_s = after.wall_s - before.wall_s
    if before.held_s is None or after.held_s is None or after.wait_count != before.wait_count:
        return wall_s
    return min(wall_s, after.held_s - before.held_s)


def time_call(call: Callable[[], None], budget: Budget, clocks: Clocks = REAL) -> Timing:
    """Time a call that is complete when it returns; it should have run once before."""
    taken: list[float] = []
    walls: list[float] = []
    started = clocks.before()
    while True:
        before = clocks.before()
        call()
        after = clocks.after()
        taken.append(max(undisturbed_s(before, after), 0.0))
        walls.append(after.wall_s - before.wall_s)
        spent_s = after.wall_s - started.wall_s
        is_slow = walls[0] > budget.seconds
        is_enough = spent_s >= budget.seconds and len(taken) >= (2 if is_slow else budget.min_runs)
        if len(taken) >= budget.max_runs or (is_enough and (is_slow or _is_settled(taken, spent_s, budget))):
            return Timing(min(taken), statistics.median(walls), len(taken))


def _is_settled(taken: Sequence[float], spent_s: float, budget: Budget) -> bool:
    """The least runs agree, or waiting for that has lasted long enough."""
    if spent_s >= _PATIENCE * budget.seconds:
        return True
    least = heapq.nsmallest(_AGREEING, taken)
    return len(least) == _AGREEING and least[-1] <= (1 + _AGREEMENT) * least[0]


def time_in_flight(
    start: Callable[[], None],
    barrier: Callable[[], None],
    budget: Budget,
    clocks: Clocks = REAL,
) -> Timing:
    """Time a call that only enqueues work: start and wait, less what the wait costs when there is nothing to wait for.

    Args:
        start: enqueues the work.
        barrier: returns when all enqueued work is done.
        budget: for the whole; a quarter of it goes to the idle wait.
        clocks: how to tell the time.
    """
    barrier()
    quarter = Budget(budget.seconds / 4, min(3, budget.min_runs), budget.max_runs)
    idle = time_call(barrier, quarter, clocks)

    def start_and_wait() -> None:
        start()
        barrier()

    both = time_call(start_and_wait, budget, clocks)
    return Timing(max(both.seconds - idle.seconds, 0.0), max(both.median_s - idle.median_s, 0.0), both.run_count)
