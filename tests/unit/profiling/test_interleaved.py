"""Comparisons on a noisy machine."""

from __future__ import annotations

import numpy as np
import pytest

from mosaic_onnx.profiling import interleaved
from mosaic_onnx.profiling.interleaved import MOST_REPEATS, EarlyStop, InterleavedTimings, measure_interleaved
from tests.unit.profiling.helpers import ScriptedClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ScriptedClock:
    scripted = ScriptedClock()
    monkeypatch.setattr(interleaved, "time", scripted)
    return scripted


def test_every_call_runs_in_every_round_and_none_is_always_first() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    timings = measure_interleaved(calls, round_count=4, repeat_count=2, warmup_count=0, settle_s=0.0)
    assert "".join(order) == "aabb" + "bbaa" + "aabb" + "bbaa"
    assert [len(timings.seconds[name]) for name in "ab"] == [4, 4]


def test_the_first_runs_after_another_call_do_not_count(clock: ScriptedClock) -> None:
    """Each call takes twice as long for 50 ms after another one, as sessions do whose threads share a core."""
    turn = {"of": "", "until": 0.0}

    def run(name: str, seconds: float) -> None:
        if turn["of"] != name:
            turn.update(of=name, until=clock.perf_counter() + 0.05)
        clock.sleep(2 * seconds if clock.perf_counter() < turn["until"] else seconds)

    calls = {"long": lambda: run("long", 0.2), "short": lambda: run("short", 0.01)}
    timings = measure_interleaved(calls, round_count=3, repeat_count=1)
    assert timings.seconds["short"] == pytest.approx((0.01,) * 3)
    assert timings.seconds["long"] == pytest.approx((0.2,) * 3)
    hasty = measure_interleaved(calls, round_count=3, repeat_count=1, settle_s=0.0)
    assert hasty.seconds["short"] == pytest.approx((0.02,) * 3)


def test_a_call_alone_needs_no_settling() -> None:
    runs: list[int] = []
    measure_interleaved({"a": lambda: runs.append(1)}, round_count=3, repeat_count=1, warmup_count=0)
    assert len(runs) == 3


def test_short_calls_run_more_often_in_a_round_and_the_slowest_one_sets_the_number(clock: ScriptedClock) -> None:
    calls = {"short": lambda: clock.sleep(1e-6), "slow": lambda: clock.sleep(0.02)}
    alone = measure_interleaved({"short": calls["short"]}, round_count=1, repeat_count=1, repeat_s=0.05)
    together = measure_interleaved(calls, round_count=1, repeat_count=1, repeat_s=0.05)
    assert alone.repeat_count == MOST_REPEATS
    assert together.repeat_count == 3


def test_the_budget_ends_the_rounds_but_three_always_run() -> None:
    timings = measure_interleaved({"a": lambda: None}, round_count=50, budget_s=0.0)
    assert len(timings.seconds["a"]) == 3


def test_a_shift_common_to_a_round_cancels_in_the_ratio() -> None:
    drift = [1.0, 1.5, 2.0, 3.0, 5.0] * 4
    timings = InterleavedTimings({"a": tuple(0.5 * d for d in drift), "b": tuple(drift)}, 1)
    ratio = timings.ratio("a", "b")
    assert (ratio.value, ratio.low, ratio.high) == (0.5, 0.5, 0.5)


def test_a_difference_smaller_than_the_scatter_has_an_interval_around_one() -> None:
    a = tuple(1.0 + 0.1 * (i % 5) for i in range(20))
    b = tuple(1.0 + 0.1 * ((i + 2) % 5) for i in range(20))
    ratio = InterleavedTimings({"a": a, "b": b}, 1).ratio("a", "b")
    assert ratio.low < 1.0 < ratio.high


def seconds_of(medians_s: dict[str, float], spread: float, rounds: int) -> InterleavedTimings:
    """Timings of ``rounds`` rounds whose figures lie evenly around medians."""
    share = np.linspace(1 - spread, 1 + spread, rounds)
    drawn = np.random.default_rng(1)
    return InterleavedTimings(
        {name: tuple(median_s * drawn.permutation(share)) for name, median_s in medians_s.items()}, 1
    )


def test_a_contest_stops_when_every_rival_is_surely_slower() -> None:
    timings = seconds_of({"a": 1.0, "b": 1.3, "c": 1.5}, 0.02, 7)
    assert EarlyStop().rivals(timings, ["a", "b", "c"]) == ()


def test_a_contest_goes_on_while_one_rival_may_be_faster_and_hopeless_ones_run_no_more() -> None:
    timings = seconds_of({"a": 1.0, "b": 1.02, "c": 1.5}, 0.05, 7)
    assert EarlyStop().rivals(timings, ["a", "b", "c"]) == ("a", "b")


def test_a_rival_that_cannot_be_faster_by_a_percent_ends_the_contest_unless_the_fastest_is_doubted() -> None:
    timings = InterleavedTimings({"a": (1.0,) * 15, "b": (0.995,) * 7 + (1.04,) * 8}, 1)
    ratio = timings.ratio("b", "a", EarlyStop().coverage)
    assert 0.99 <= ratio.low <= 1.0
    assert ratio.high > 1.01
    assert EarlyStop().rivals(timings, ["a", "b"]) == ()
    assert EarlyStop(doubted="b").rivals(timings, ["a", "b"]) == ()
    assert EarlyStop(doubted="a").rivals(timings, ["a", "b"]) == ("a", "b")


def test_rivals_that_are_the_same_within_a_percent_need_no_more_rounds() -> None:
    timings = seconds_of({"a": 1.0, "b": 1.001}, 0.002, 15)
    assert EarlyStop().rivals(timings, ["a", "b"]) == ()


def test_rounds_end_early_and_the_ratio_takes_the_rounds_that_both_ran(clock: ScriptedClock) -> None:
    waits_s = {"fast": 0.001, "slow": 0.004}
    calls = {name: (lambda wait_s=wait_s: clock.sleep(wait_s)) for name, wait_s in waits_s.items()}
    timings = measure_interleaved(calls, round_count=50, repeat_count=1, stop=EarlyStop(least_rounds=3))
    assert len(timings.seconds["fast"]) == 3
    uneven = InterleavedTimings({"a": (1.0, 1.0, 1.0), "b": (2.0, 2.0)}, 1)
    assert uneven.ratio("b", "a").value == 2.0
