"""Compare all schedulers on all scenarios, with ratios."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mosaic_onnx.reproduce.puzzle.random_scenarios import RandomScenario
from mosaic_onnx.scenarios.search.genetic import SearchOptions
from mosaic_onnx.scenarios.solve import OURS, SchedulingOptions, schedule_instance

_RESAMPLES = 10_000


@dataclass(frozen=True)
class Outcome:
    """The result of one scenario.

    Attributes:
        number: of the scenario.
        words: its groups.
        bound: no schedule is satisfied below it.
        multipliers: α* by scheduler.
        rounds: of our search.
        details: the groups' mean makespans of our schedule at its α*, in seconds.
    """

    number: int
    words: str
    bound: float
    multipliers: Mapping[str, float]
    rounds: int
    details: Mapping[str, float | None] = field(default_factory=dict)

    def ratio(self, scheduler: str) -> float:
        """Return the ratio of a scheduler's α* to ours: the factor by which our request frequency is higher."""
        return self.multipliers[scheduler] / self.multipliers[OURS]

    @property
    def gap(self) -> float:
        """Return the gap of ours to the bound, as a share."""
        return self.multipliers[OURS] / self.bound - 1


@dataclass(frozen=True)
class Ratio:
    """A geometric mean over scenarios with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def outcome_of(scenario: RandomScenario, time_limit_s: float, seed: int, worker_count: int | None = None) -> Outcome:
    """Return the result of scheduling a scenario by our search, which evaluates every baseline too."""
    options = SchedulingOptions(search=SearchOptions(seed=seed, time_limit_s=time_limit_s), worker_count=worker_count)
    scheduled = schedule_instance(scenario.instance, options)
    return Outcome(
        scenario.number,
        scenario.words,
        scheduled.bound.value,
        {OURS: scheduled.multiplier, **scheduled.baselines},
        scheduled.rounds,
        {group.name: group.mean_makespan_s for group in scheduled.groups},
    )


def geometric_mean(ratios: Sequence[float], seed: int = 0) -> Ratio:
    """Return the geometric mean with the interval that resampling the scenarios gives."""
    logs = np.log(np.array(ratios))
    draws = np.random.default_rng(seed).integers(0, len(logs), size=(_RESAMPLES, len(logs)))
    low, high = np.percentile(logs[draws].mean(axis=1), [2.5, 97.5])
    return Ratio(float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high)))


def compare(
    scenarios: Sequence[RandomScenario],
    time_limit_s: float,
    seed: int,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[Outcome, ...]:
    """Return the results of scheduling all scenarios.

    Args:
        scenarios: in any number.
        time_limit_s: of our search, for each.
        seed: of our search.
        note: called when a scenario is done.
    """
    outcomes = []
    for scenario in scenarios:
        outcomes.append(outcome_of(scenario, time_limit_s, seed))
        done = outcomes[-1]
        note(f"scenario {done.number}: ours {done.multipliers[OURS]:.3f}, bound {done.bound:.3f}")
    return tuple(outcomes)
