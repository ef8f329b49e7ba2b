"""Arrival times and deadlines of the frames of each group."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.scenarios.scenario import Group, Scenario

FEWEST_REQUESTS = 20
MOST_REQUESTS = 500
"""Of one group: a group with a far shorter period than the others need not be simulated to their end."""


@dataclass(frozen=True)
class Arrivals:
    """Frames of each group at one period multiplier; all models of a group share them.

    Attributes:
        arrival_s: [G][F of the group] ascending seconds.
        deadline_s: [G] from the arrival.
    """

    arrival_s: tuple[tuple[float, ...], ...]
    deadline_s: tuple[float, ...]


def request_counts(scenario: Scenario) -> tuple[int, ...]:
    """Return [G] requests of each group: those of the time in which the slowest group makes ``FEWEST_REQUESTS``."""
    span_s = FEWEST_REQUESTS * max(group.period_s for group in scenario.groups)
    return tuple(
        max(FEWEST_REQUESTS, min(MOST_REQUESTS, math.ceil(span_s / group.period_s - 1e-9))) for group in scenario.groups
    )


def periodic_arrivals(scenario: Scenario, multiplier: float, seed: int = 0) -> Arrivals:
    """Return frames at multiples of each group's period, each late by its jitter.

    The draws depend on the seed, the group and the frame alone, so every scheduler sees the same arrivals. Jitter is
    not scaled; a frame never arrives before its predecessor.

    Args:
        scenario: the groups.
        multiplier: scales all periods and deadlines.
        seed: of the jitter.
    """
    counts = request_counts(scenario)
    arrivals = tuple(
        _group_arrivals(group, count, multiplier, (seed, g))
        for g, (group, count) in enumerate(zip(scenario.groups, counts, strict=True))
    )
    return Arrivals(arrivals, tuple(group.deadline_s * multiplier for group in scenario.groups))


def _group_arrivals(group: Group, count: int, multiplier: float, seed: tuple[int, int]) -> tuple[float, ...]:
    period_s = group.period_s * multiplier
    if group.jitter_s == 0:
        return tuple(frame * period_s for frame in range(count))
    late = np.random.default_rng(seed).uniform(0.0, group.jitter_s, count)
    return tuple(np.maximum.accumulate(np.arange(count) * period_s + late).tolist())


def arrivals_within(scenario: Scenario, seconds: float, seed: int = 0) -> Arrivals:
    """Return frames that arrive in a stretch of time, at the scenario's own periods; at least one of each group."""
    counts = [max(1, math.ceil(seconds / group.period_s - 1e-9)) for group in scenario.groups]
    arrivals = tuple(
        _group_arrivals(group, count, 1.0, (seed, g))
        for g, (group, count) in enumerate(zip(scenario.groups, counts, strict=True))
    )
    return Arrivals(arrivals, tuple(group.deadline_s for group in scenario.groups))
