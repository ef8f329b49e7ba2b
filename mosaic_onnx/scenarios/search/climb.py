"""Local search for a schedule that is satisfied just below the best multiplier so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.search.merit import Question
from mosaic_onnx.scenarios.search.moves import Moves
from mosaic_onnx.scenarios.search.pool import Pool
from mosaic_onnx.scenarios.simulation.multiplier import PRECISION

BATCH = 16
"""Neighbours looked at together, whatever the number of workers: the result must not depend on it."""
_KICK_AFTER = 6
_KICK_MOVES = 3


@dataclass(frozen=True)
class Found:
    """A schedule and its least multiplier."""

    schedule: Schedule
    multiplier: float


@dataclass(frozen=True)
class Climber:
    """What a climb needs.

    Attributes:
        moves: draws neighbours.
        pool: evaluates them.
        bound: the least multiplier that can be.
        seed: of the arrivals' jitter.
        go_on: asked before each batch.
    """

    moves: Moves
    pool: Pool
    bound: float
    seed: int
    go_on: Callable[[], bool]

    def climb(self, start: Found, batch_count: int, rng: np.random.Generator) -> Found:
        """Move to the best of each batch of neighbours where it is as good; after a while without gain, kick.

        Args:
            start: where to begin.
            batch_count: batches to look at without finding a smaller multiplier.
            rng: of the moves.
        """
        best, current = start, start.schedule
        merit = self._merit([current], target(best))[0][0]
        idle = quiet = 0
        while idle < batch_count and target(best) > self.bound and self.go_on():
            neighbours = self.moves.neighbours(current, BATCH, rng)
            if not neighbours:
                break
            replies = self._merit(neighbours, target(best))
            idle, quiet = idle + 1, quiet + 1
            better = self._least([n for n, (_, ok) in zip(neighbours, replies, strict=True) if ok], best)
            if better is not None:
                best, current, idle, quiet = better, better.schedule, 0, 0
                merit = self._merit([current], target(best))[0][0]
                continue
            top = max(range(len(replies)), key=lambda n: (replies[n][0], -n))
            if replies[top][0] >= merit:
                quiet = 0 if replies[top][0] > merit else quiet
                current, merit = neighbours[top], replies[top][0]
            if quiet >= _KICK_AFTER:
                current, quiet = self._kicked(best.schedule, rng), 0
                merit = self._merit([current], target(best))[0][0]
        return best

    def _merit(self, schedules: list[Schedule], multiplier: float) -> list[tuple[float, bool]]:
        replies = self.pool.answers([Question("merit", one, multiplier, self.seed) for one in schedules])
        return [(reply.value, reply.is_satisfied) for reply in replies]

    def _least(self, schedules: list[Schedule], best: Found) -> Found | None:
        """The schedule with the least multiplier, where it is smaller than the best one's."""
        replies = self.pool.answers([Question("least", one, self.bound, self.seed) for one in schedules])
        found = [Found(one, reply.value) for one, reply in zip(schedules, replies, strict=True)]
        return min((one for one in found if one.multiplier < best.multiplier), key=lambda f: f.multiplier, default=None)

    def _kicked(self, schedule: Schedule, rng: np.random.Generator) -> Schedule:
        """Return the schedule after a few moves, good or bad."""
        for _ in range(_KICK_MOVES):
            schedule = self.moves.draw(schedule, rng) or schedule
        return schedule


def target(best: Found) -> float:
    """The multiplier to be satisfied next: a step of the bisection's precision below the best one."""
    step: float = PRECISION**0.5
    return best.multiplier / step
