"""Local search for a schedule that is satisfied just below the best multiplier so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.search.candidates import Candidate, evaluated
from mosaic_onnx.scenarios.search.fitness import EvaluationRequest
from mosaic_onnx.scenarios.search.moves import Moves
from mosaic_onnx.scenarios.search.pool import Pool
from mosaic_onnx.scenarios.simulation.multiplier import PRECISION

BATCH = 16
"""Neighbours looked at together, whatever the number of workers: the result must not depend on it."""
_PERTURB_AFTER = 6
_MOST_BISECTED = 3
"""Of a batch's satisfied schedules, those whose least multiplier is found: each takes ten simulations."""
_PERTURBING_MOVES = 3


@dataclass(frozen=True)
class LocalSearch:
    """Moves from schedule to schedule.

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

    def improve(self, start: Candidate, batch_count: int, rng: np.random.Generator) -> Candidate:
        """Move to the best of each batch of neighbours where it is as good; after a while without gain, perturb.

        Args:
            start: where to begin.
            batch_count: batches to look at without finding a smaller multiplier.
            rng: of the moves.
        """
        best, current = start, start.schedule
        fitness = self._fitness([current], target(best))[0][0]
        idle = quiet = 0
        while idle < batch_count and target(best) > self.bound and self.go_on():
            neighbours = self.moves.neighbours(current, BATCH, rng)
            if not neighbours:
                break
            evaluations = self._fitness(neighbours, target(best))
            idle, quiet = idle + 1, quiet + 1
            satisfied = [n for n, (_, is_satisfied) in enumerate(evaluations) if is_satisfied]
            hopeful = sorted(satisfied, key=lambda n: (-evaluations[n][0], n))[:_MOST_BISECTED]
            better = self._least([neighbours[n] for n in hopeful], best)
            if better is not None:
                best, current, idle, quiet = better, better.schedule, 0, 0
                fitness = self._fitness([current], target(best))[0][0]
                continue
            top = max(range(len(evaluations)), key=lambda n: (evaluations[n][0], -n))
            if evaluations[top][0] >= fitness:
                quiet = 0 if evaluations[top][0] > fitness else quiet
                current, fitness = neighbours[top], evaluations[top][0]
            if quiet >= _PERTURB_AFTER:
                current, quiet = self._perturbed(best.schedule, rng), 0
                fitness = self._fitness([current], target(best))[0][0]
        return best

    def _fitness(self, schedules: list[Schedule], multiplier: float) -> list[tuple[float, bool]]:
        requests = [EvaluationRequest("fitness", one, multiplier, self.seed) for one in schedules]
        return [(evaluation.value, evaluation.is_satisfied) for evaluation in self.pool.evaluate(requests)]

    def _least(self, schedules: list[Schedule], best: Candidate) -> Candidate | None:
        """Return the schedule with the least multiplier, where it is smaller than the best one's."""
        found = evaluated(self.pool, schedules, self.bound, self.seed)
        return min((one for one in found if one.multiplier < best.multiplier), key=lambda f: f.multiplier, default=None)

    def _perturbed(self, schedule: Schedule, rng: np.random.Generator) -> Schedule:
        """Return the schedule after a few moves, good or bad."""
        for _ in range(_PERTURBING_MOVES):
            schedule = self.moves.draw(schedule, rng) or schedule
        return schedule


def target(best: Candidate) -> float:
    """Return the multiplier to be satisfied next: a step of the bisection's precision below the best one."""
    step: float = PRECISION**0.5
    return best.multiplier / step
