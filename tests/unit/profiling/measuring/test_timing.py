from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mosaic_onnx.profiling.measuring.timing import (
    Clocks,
    Reading,
    TimeBudget,
    Timing,
    read_after,
    read_before,
    time_call,
    time_in_flight,
    undisturbed_s,
)


class Clock:
    """Clocks that only calls move on."""

    def __init__(self, durations: Iterator[float]) -> None:
        self.now, self.durations = 0.0, durations

    def read(self) -> Reading:
        return Reading(self.now)

    @property
    def clocks(self) -> Clocks:
        return Clocks(self.read, self.read)

    def work(self) -> None:
        self.now += next(self.durations)


def forever(*durations: float) -> Iterator[float]:
    while True:
        yield from durations


def timed(budget: TimeBudget, *durations: float) -> Timing:
    clock = Clock(forever(*durations))
    return time_call(clock.work, budget, clock.clocks)


def test_the_minimum_is_the_figure_and_the_median_tells_the_noise() -> None:
    timing = timed(TimeBudget(seconds=1.0, min_runs=5), 0.3, 0.1, 0.2)
    assert timing.seconds == pytest.approx(0.1)
    assert timing.median_s == pytest.approx(0.2)


def test_runs_go_on_until_the_budget_is_spent() -> None:
    assert timed(TimeBudget(seconds=1.0, min_runs=2, max_runs=500), 0.01).run_count == pytest.approx(100, abs=1)


def test_fast_calls_end_at_the_most_runs() -> None:
    assert timed(TimeBudget(seconds=1.0, max_runs=50), 1e-6).run_count == 50


def test_slow_calls_get_their_least_runs() -> None:
    assert timed(TimeBudget(seconds=1.0, min_runs=5), 0.6).run_count == 5


def test_a_call_slower_than_the_whole_budget_runs_only_twice() -> None:
    assert timed(TimeBudget(seconds=1.0, min_runs=5), 4.0).run_count == 2


def test_a_minimum_that_no_other_run_comes_near_is_doubted_for_a_while() -> None:
    lonely = [0.1, *(0.2 + 0.01 * index for index in range(60))]
    clock = Clock(iter(lonely))
    assert time_call(clock.work, TimeBudget(seconds=1.0, min_runs=3), clock.clocks).run_count > 10
    agreed = Clock(forever(0.125, 0.375))
    assert time_call(agreed.work, TimeBudget(seconds=1.0, min_runs=3), agreed.clocks).run_count == 5


def test_doubt_ends_at_four_times_the_budget() -> None:
    clock = Clock(0.1 * 1.1**index for index in range(100))
    time_call(clock.work, TimeBudget(seconds=1.0), clock.clocks)
    assert 4.0 <= clock.now < 5.5


def test_the_idle_wait_is_taken_off_what_only_enqueues() -> None:
    clock = Clock(forever(0.0))

    def start() -> None:
        clock.now += 0.001
        clock.pending = 0.009

    def barrier() -> None:
        clock.now += 0.04 + getattr(clock, "pending", 0.0)
        clock.pending = 0.0

    timing = time_in_flight(start, barrier, TimeBudget(seconds=1.0), clock.clocks)
    assert timing.seconds == pytest.approx(0.010)


def test_what_others_kept_the_thread_from_its_core_is_taken_off() -> None:
    assert undisturbed_s(Reading(1.0, 0.5, 7), Reading(2.0, 0.75, 7)) == 0.25


def test_a_run_that_waited_counts_by_the_wall_clock() -> None:
    assert undisturbed_s(Reading(1.0, 0.5, 7), Reading(2.0, 0.75, 8)) == 1.0


def test_work_of_several_threads_counts_by_the_wall_clock() -> None:
    assert undisturbed_s(Reading(1.0, 0.5, 7), Reading(2.0, 2.25, 7)) == 1.0


def test_without_clocks_of_the_thread_the_wall_clock_counts() -> None:
    assert undisturbed_s(Reading(1.0), Reading(2.0)) == 1.0


def test_a_sleep_counts_in_full_and_work_is_not_more_than_the_wall_clock_says() -> None:
    before = read_before()
    time.sleep(0.02)
    after = read_after()
    assert undisturbed_s(before, after) >= 0.02
    before = read_before()
    sum(range(10_000))
    after = read_after()
    assert 0 < undisturbed_s(before, after) <= after.wall_s - before.wall_s
