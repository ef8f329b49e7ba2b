"""Schedules with their least multipliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.search.fitness import EvaluationRequest
from mosaic_onnx.scenarios.search.pool import Pool

INF = float("inf")


@dataclass(frozen=True)
class Candidate:
    """A schedule and the least multiplier at which it is satisfied."""

    schedule: Schedule
    multiplier: float


def evaluated(pool: Pool, schedules: Sequence[Schedule], bound: float, seed: int) -> list[Candidate]:
    """Return those of the schedules that can run, with their least multipliers.

    Args:
        pool: where to evaluate.
        schedules: in any number.
        bound: of every schedule's least multiplier.
        seed: of the arrivals' jitter.
    """
    requests = [EvaluationRequest("least-multiplier", one, bound, seed) for one in schedules]
    found = [Candidate(r.schedule, e.value) for r, e in zip(requests, pool.evaluate(requests), strict=True)]
    return [one for one in found if one.multiplier < INF]
