"""Comparisons on a noisy machine."""

from __future__ import annotations

from mosaic_onnx.profiling.interleaved import InterleavedTimings, measure_interleaved


def test_every_call_runs_in_every_round_and_none_is_always_first() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    timings = measure_interleaved(calls, round_count=4, repeat_count=2, warmup_count=0)
    assert "".join(order) == "aabb" + "bbaa" + "aabb" + "bbaa"
    assert [len(timings.seconds[name]) for name in "ab"] == [4, 4]


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
