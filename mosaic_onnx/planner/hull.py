"""What weighed sums prove about seconds and joules together: the lower hull, and Lagrangian bounds read off it.

Every answer "a · seconds + b · joules >= v for all plans" is a half-plane; their intersection holds all plans. The
least joules at a deadline, the least seconds at a budget and the least product are read off it. (The product is
quasi-concave, so over the half-planes it is least in a corner; where the corners are plans themselves, it is exact.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from mosaic_onnx.costs import Ints
from mosaic_onnx.planner.request import Proposal
from mosaic_onnx.planner.weights import ENERGY, LATENCY, Weights

INF = float("inf")
MOST_ANSWERS = 40
TIE_BREAK = 1e-6
"""How much the other figure counts, relative to its size, where one is made small and the other only breaks ties."""


@dataclass(frozen=True, eq=False)
class Supported:
    """What is best for some weights: a placement with its relaxed figures, on chains with its slices."""

    seconds: float
    joules: float
    states: Ints
    proposal: Proposal = ()


@dataclass(frozen=True, eq=False)
class Asked:
    """The answer to one pair of weights: a proved lower bound of the weighed sum, and what was found to reach it."""

    weights: Weights
    bound: float
    point: Supported | None


@dataclass
class Hull:
    """Half-planes and supported points, found by asking for weights.

    Attributes:
        ask: solves one weighed sum.
        answers: all answers so far.
    """

    ask: Callable[[Weights], Asked]
    answers: list[Asked] = field(default_factory=list)

    @property
    def points(self) -> list[Supported]:
        """The different supported points, by rising seconds."""
        found = {(a.point.seconds, a.point.joules): a.point for a in self.answers if a.point is not None}
        return [found[key] for key in sorted(found)]

    def explore(self, promising: Callable[[Hull, Supported, Supported], bool], until: float = INF) -> None:
        """Ask for the ends, then between neighbouring points while it is promising and there is time."""
        for weights in (LATENCY, ENERGY):
            self._put(weights)
        if self.points:  # of all plans that are best in one, the best in the other
            first, last = self.points[0], self.points[-1]
            self._put(Weights(1.0, TIE_BREAK * first.seconds / first.joules if first.joules else 1.0))
            self._put(Weights(TIE_BREAK * last.joules / last.seconds if last.seconds else 1.0, 1.0))
        settled: set[tuple[float, float]] = set()
        while len(self.answers) < MOST_ANSWERS and time.monotonic() < until:
            gap = self._next_gap(promising, settled)
            if gap is None:
                return
            left, right = gap
            settled.add((left.seconds, right.seconds))
            self._put(Weights(left.joules - right.joules, right.seconds - left.seconds))

    def joules_within(self, deadline_s: float) -> float:
        """A lower bound of the joules of every plan that keeps the deadline; inf where none does."""
        if deadline_s < self.seconds_within(INF) * (1 - 1e-12):
            return INF
        at = [self._joules_at(answer, deadline_s) for answer in self.answers if answer.weights.joules]
        return max(at, default=0.0)

    def seconds_within(self, budget_j: float) -> float:
        """A lower bound of the seconds of every plan that keeps the budget; inf where none does."""
        bound = 0.0
        for answer in self.answers:
            a, b = answer.weights.seconds, answer.weights.joules
            if a:
                spent = b * budget_j if b else 0.0
                bound = max(bound, (answer.bound - spent) / a)
            elif budget_j < answer.bound / b * (1 - 1e-12):
                return INF
        return bound

    def product_within(self, deadline_s: float = INF, budget_j: float = INF) -> float:
        """A lower bound of seconds · joules of every plan that keeps both limits; inf where none does."""
        low, high = self.seconds_within(budget_j), deadline_s
        if high < low * (1 - 1e-12):
            return INF
        corners = {low, *(s for s in self._crossings() if low < s < high)}
        if np.isfinite(high):
            corners.add(high)
        return min(s * self.joules_within(max(s, low)) for s in corners)

    def _crossings(self) -> list[float]:
        """Seconds at which two half-planes' edges meet."""
        lines = [(a.weights.seconds, a.weights.joules, a.bound) for a in self.answers if a.weights.joules]
        found = []
        for index, (a1, b1, v1) in enumerate(lines):
            for a2, b2, v2 in lines[:index]:
                slope = a1 * b2 - a2 * b1
                if slope:
                    found.append((v1 * b2 - v2 * b1) / slope)
        return found

    @staticmethod
    def _joules_at(answer: Asked, seconds: float) -> float:
        spent = answer.weights.seconds * seconds if answer.weights.seconds else 0.0
        return (answer.bound - spent) / answer.weights.joules

    def _put(self, weights: Weights) -> None:
        self.answers.append(self.ask(weights))

    def _next_gap(
        self, promising: Callable[[Hull, Supported, Supported], bool], settled: set[tuple[float, float]]
    ) -> tuple[Supported, Supported] | None:
        points = _undominated(self.points)
        for left, right in pairwise(points):
            if (left.seconds, right.seconds) not in settled and promising(self, left, right):
                return left, right
        return None


def _undominated(points: list[Supported]) -> list[Supported]:
    kept: list[Supported] = []
    for point in points:
        if not kept or point.joules < kept[-1].joules * (1 - 1e-12):
            kept.append(point)
    return kept


def around(seconds: float = INF, joules: float = INF) -> Callable[[Hull, Supported, Supported], bool]:
    """Promising where the deadline or the budget lies between two points."""

    def promising(_: Hull, left: Supported, right: Supported) -> bool:
        return left.seconds <= seconds < right.seconds or right.joules <= joules < left.joules

    return promising


def products(_: Hull, left: Supported, right: Supported) -> bool:
    """Promising where a corner between two points could have a smaller product than both ends."""
    return left.seconds * right.joules < min(left.seconds * left.joules, right.seconds * right.joules)


def everywhere(_: Hull, left: Supported, right: Supported) -> bool:
    """The whole hull."""
    return left.seconds < right.seconds
