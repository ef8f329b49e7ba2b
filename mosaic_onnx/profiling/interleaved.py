"""Comparison of calls on a noisy machine: interleaved runs, medians, ratios with confidence intervals.

A round runs every call several times in a row and keeps the least; the order rotates from round to round, so no call
always runs first. Other load on the machine slows all calls alike. A call's first runs after another one's do not
count: it takes a while until its threads have the cores to themselves (``SETTLE_S``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.runtime.repeated_runs import SETTLE_S, settle

RESAMPLE_COUNT = 2000
"""Bootstrap resamples behind an interval."""
MOST_REPEATS = 20
"""Runs of a call in a round, however short it is."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class InterleavedTimings:
    """The result of an interleaved measurement.

    Attributes:
        seconds: by name, one figure a round: the least of the round's repeats.
        repeat_count: runs behind each figure.
    """

    seconds: Mapping[str, tuple[float, ...]]
    repeat_count: int

    def median_s(self, name: str) -> float:
        """Return the median over the rounds."""
        return float(np.median(self.seconds[name]))

    def spread(self, name: str) -> float:
        """Return half the distance between the quartiles, relative to the median."""
        low, high = np.percentile(self.seconds[name], [25, 75])
        return float((high - low) / 2 / self.median_s(name))

    def ratio(self, name: str, against: str, coverage: float = 0.95) -> Ratio:
        """Return the ratio of medians with a bootstrap interval over rounds; a round's figures are drawn together.

        Args:
            name: numerator.
            against: denominator.
            coverage: of the interval.
        """
        count = min(len(self.seconds[name]), len(self.seconds[against]))  # one may have been given up early
        a, b = np.asarray(self.seconds[name][:count]), np.asarray(self.seconds[against][:count])
        drawn = np.random.default_rng(0).integers(0, count, (RESAMPLE_COUNT, count))
        ratios = np.median(a[drawn], axis=1) / np.median(b[drawn], axis=1)
        low, high = np.percentile(ratios, [50 * (1 - coverage), 50 * (1 + coverage)])
        return Ratio(float(np.median(a) / np.median(b)), float(low), float(high))


@dataclass(frozen=True)
class EarlyStop:
    """The rule that ends a contest before its rounds are over.

    After every round the rivals are compared with the fastest. A rival whose interval lies above ``hopeless`` runs no
    more; once no other one can be faster by more than ``same``, no round follows. Looking after every round would find
    differences by chance more often than the interval says, so its coverage is higher.

    Attributes:
        least_rounds: that always run.
        same: ratios nearer to one than this are called equal.
        hopeless: ratio above which a rival is given up.
        coverage: of the intervals.
        doubted: name of one that wins only where it is surely faster: while it is the fastest, rounds follow until the
            others are surely slower, or surely as fast up to ``same``.
    """

    least_rounds: int = 5
    same: float = 0.01
    hopeless: float = 1.1
    coverage: float = 0.99
    doubted: str = ""

    def rivals(self, timings: InterleavedTimings, running: Sequence[str]) -> tuple[str, ...]:
        """Return those that must run on for a decision; empty where there is one.

        Args:
            timings: so far.
            running: names that ran in the last round.
        """
        best = min(running, key=timings.median_s)
        kept, is_open = [best], False
        for name in running:
            if name == best:
                continue
            ratio = timings.ratio(name, best, self.coverage)
            if ratio.low <= self.hopeless:
                kept.append(name)
                is_near = ratio.low >= 1 - self.same
                if best == self.doubted:
                    is_near = ratio.low > 1 or (is_near and ratio.high <= 1 + self.same)
                is_open |= not is_near
        return tuple(name for name in running if name in kept) if is_open else ()


def measure_interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    round_count: int = 15,
    repeat_count: int = 3,
    repeat_s: float = 0.0,
    warmup_count: int = 2,
    settle_s: float = SETTLE_S,
    budget_s: float = float("inf"),
    stop: EarlyStop | None = None,
) -> InterleavedTimings:
    """Time several calls in turn.

    Args:
        calls: what to time, by name.
        round_count: number of rounds.
        repeat_count: runs of a call per round, of which the least counts; at least so many.
        repeat_s: the runs of the slowest call in a round take about so long together: short calls run more often.
        warmup_count: runs of each before the first round.
        settle_s: after another call, runs that begin within so many seconds do not count.
        budget_s: no round starts after it, but three always run.
        stop: when the comparison is decided earlier; None for never.
    """
    names = list(calls)
    warm_s = [min((_once(calls[name]) for _ in range(warmup_count)), default=math.inf) for name in names]
    repeat_count = max(repeat_count, min(MOST_REPEATS, math.ceil(repeat_s / max(warm_s, default=math.inf))))
    end_s = time.perf_counter() + budget_s
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(round_count):
        if number >= 3 and time.perf_counter() > end_s:
            break
        for name in names[number % len(names) :] + names[: number % len(names)]:
            if len(calls) > 1:
                settle(calls[name], settle_s)
            seconds[name].append(min(_once(calls[name]) for _ in range(repeat_count)))
        if stop is not None and number + 1 >= stop.least_rounds:
            names = list(stop.rivals(_timings(seconds, repeat_count), names))
            if not names:
                break
    return _timings(seconds, repeat_count)


def _timings(seconds: Mapping[str, Sequence[float]], repeat_count: int) -> InterleavedTimings:
    return InterleavedTimings({name: tuple(values) for name, values in seconds.items()}, repeat_count)


def _once(call: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    call()
    return time.perf_counter() - start_s
