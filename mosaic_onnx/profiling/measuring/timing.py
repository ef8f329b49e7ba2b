"""Timing one call on a machine with other load: the least of many runs within a time budget.

If the calling thread never waits during a run, the run takes at most the CPU time of this process's threads. With one
thread it takes exactly that, even if other processes interrupt it, so figures repeat on a busy machine. If the thread
waits (for a device, for other threads), the wall clock counts.
"""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

try:
    from resource import RUSAGE_THREAD, getrusage
except ImportError:  # not Linux: only the wall clock
    getrusage = None  # type: ignore[assignment]

_AGREEING, _AGREEMENT = 3, 0.03
"""So many of the fastest runs must lie within this share of the fastest."""
_PATIENCE = 4.0


@dataclass(frozen=True)
class TimeBudget:
    """The time for measuring one call.

    Other load only adds time, so the minimum is the figure, and more runs can only lower it. A minimum that was
    reached once may still be disturbed: some runs must agree with it.

    Attributes:
        seconds: stop when this is spent, ``min_runs`` are done and the fastest runs agree; or after four times this.
        min_runs: at least so many, however slow; a call slower than the whole budget is run only twice.
        max_runs: at most so many, however fast.
    """

    seconds: float = 0.03
    min_runs: int = 5
    max_runs: int = 200


@dataclass(frozen=True)
class Timing:
    """The result of timing a call: the minimum, and the median by the wall clock, which shows other load."""

    seconds: float
    median_s: float
    run_count: int


@dataclass(frozen=True)
class Reading:
    """A reading of the clocks.

    Attributes:
        wall_s: the wall clock.
        held_s: CPU time of this process; None where the system does not tell.
        wait_count: voluntary waits of the calling thread.
    """

    wall_s: float
    held_s: float | None = None
    wait_count: int = 0


def read_before() -> Reading:
    """Return the clocks, reading the wall clock last: the time to read the others is not part of the run."""
    if getrusage is None:
        return Reading(time.perf_counter())
    waits, held_s = getrusage(RUSAGE_THREAD).ru_nvcsw, time.process_time()
    return Reading(time.perf_counter(), held_s, waits)


def read_after() -> Reading:
    """Return the clocks, reading the wall clock first."""
    wall_s = time.perf_counter()
    if getrusage is None:
        return Reading(wall_s)
    return Reading(wall_s, time.process_time(), getrusage(RUSAGE_THREAD).ru_nvcsw)


@dataclass(frozen=True)
class Clocks:
    """The functions that read the clocks before and after a run."""

    before: Callable[[], Reading] = read_before
    after: Callable[[], Reading] = read_after


REAL = Clocks()


def undisturbed_s(before: Reading, after: Reading) -> float:
    """Return the time of a run, without the time in which other processes held its core, if that is known."""
    wall_s = after.wall_s - before.wall_s
    if before.held_s is None or after.held_s is None or after.wait_count != before.wait_count:
        return wall_s
    return min(wall_s, after.held_s - before.held_s)


def time_call(call: Callable[[], None], budget: TimeBudget, clocks: Clocks = REAL) -> Timing:
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


def _is_settled(taken: Sequence[float], spent_s: float, budget: TimeBudget) -> bool:
    """Return whether the fastest runs agree, or the time to wait for that is over."""
    if spent_s >= _PATIENCE * budget.seconds:
        return True
    least = heapq.nsmallest(_AGREEING, taken)
    return len(least) == _AGREEING and least[-1] <= (1 + _AGREEMENT) * least[0]


def time_in_flight(
    start: Callable[[], None],
    barrier: Callable[[], None],
    budget: TimeBudget,
    clocks: Clocks = REAL,
) -> Timing:
    """Time a call that only enqueues work: start and wait, less the time of a wait with nothing enqueued.

    Args:
        start: enqueues the work.
        barrier: returns when all enqueued work is done.
        budget: for the whole; a quarter of it goes to the idle wait.
        clocks: how to read the clocks.
    """
    barrier()
    quarter = TimeBudget(budget.seconds / 4, min(3, budget.min_runs), budget.max_runs)
    idle = time_call(barrier, quarter, clocks)

    def start_and_wait() -> None:
        start()
        barrier()

    both = time_call(start_and_wait, budget, clocks)
    return Timing(max(both.seconds - idle.seconds, 0.0), max(both.median_s - idle.median_s, 0.0), both.run_count)
