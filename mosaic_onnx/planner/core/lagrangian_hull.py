"""Bounds by weighed sums on seconds and joules together: the lower hull, and Lagrangian bounds read off it.

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

from mosaic_onnx.core.cost_tables.costs import Ints
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, Weights
from mosaic_onnx.planner.core.request import TOLERANCE, Proposal, Request

INF = float("inf")
ROUNDING = 1e-14
"""Relative, of sums of costs."""
MOST_ANSWERS = 40
TIE_BREAK = 1e-6
"""Weight of the other figure, relative to its size, where one is made small and the other only breaks ties."""


@dataclass(frozen=True, eq=False)
class Supported:
    """The best for some weights: a placement with its relaxed figures, on chains with its slices."""

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


Promise = Callable[["Hull", Supported, Supported], float]
"""Rank of the gap between two neighbouring points, the smaller the more promising; inf where it is not."""


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
        """Return the different supported points, by rising seconds."""
        found = {(a.point.seconds, a.point.joules): a.point for a in self.answers if a.point is not None}
        return [found[key] for key in sorted(found)]

    def explore(self, promise: Promise, until: float = INF) -> None:
        """Ask for the ends, then between neighbouring points, most promising first, while there is time."""
        for weights in (LATENCY, ENERGY):
            self._put(weights)
        if self.points:  # of all plans that are best in one, the best in the other
            first, last = self.points[0], self.points[-1]
            self._put(Weights(1.0, TIE_BREAK * first.seconds / first.joules if first.joules else 1.0))
            self._put(Weights(TIE_BREAK * last.joules / last.seconds if last.seconds else 1.0, 1.0))
        settled: set[tuple[float, float]] = set()
        while len(self.answers) < MOST_ANSWERS and time.monotonic() < until:
            gap = self._next_gap(promise, settled)
            if gap is None:
                return
            left, right = gap
            settled.add((left.seconds, right.seconds))
            self._put(Weights(left.joules - right.joules, right.seconds - left.seconds))

    def joules_within(self, deadline_s: float) -> float:
        """Return a lower bound of the joules of every plan that keeps the deadline; inf where none does."""
        if deadline_s < self.seconds_within(INF) * (1 - TOLERANCE):
            return INF
        return self._joules_above(deadline_s)

    def seconds_within(self, budget_j: float) -> float:
        """Return a lower bound of the seconds of every plan that keeps the budget; inf where none does."""
        bound = 0.0
        for answer in self.answers:
            a, b = answer.weights.seconds, answer.weights.joules
            if a:
                bound = max(bound, _left(answer.bound, b * budget_j if b else 0.0) / a)
            elif budget_j < answer.bound / b * (1 - TOLERANCE):
                return INF
        return bound

    def product_within(self, deadline_s: float = INF, budget_j: float = INF) -> float:
        """Return a lower bound of seconds · joules of every plan that keeps both limits; inf where none does."""
        low = self.seconds_within(budget_j)
        return INF if deadline_s < low * (1 - 1e-12) else self.product_between(low, deadline_s)

    def product_between(self, low_s: float, high_s: float) -> float:
        """Return a lower bound of seconds · joules of every plan whose seconds lie between the two."""
        corners = {low_s, *(s for s in self._crossings() if low_s < s < high_s)}
        if np.isfinite(high_s):
            corners.add(high_s)
        return min(s * self._joules_above(s) for s in corners)

    def _joules_above(self, seconds: float) -> float:
        """Return the half-planes' joules at so many seconds."""
        return max((self._joules_at(one, seconds) for one in self.answers if one.weights.joules), default=0.0)

    def _crossings(self) -> list[float]:
        """Return seconds at which two half-planes' edges meet."""
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
        return _left(answer.bound, spent) / answer.weights.joules

    def _put(self, weights: Weights) -> None:
        self.answers.append(self.ask(weights))

    def _next_gap(self, promise: Promise, settled: set[tuple[float, float]]) -> tuple[Supported, Supported] | None:
        """Return the gap between two neighbouring points that promises most; None where none promises anything."""
        gaps = [gap for gap in pairwise(_undominated(self.points)) if (gap[0].seconds, gap[1].seconds) not in settled]
        promised = [(promise(self, *gap), index) for index, gap in enumerate(gaps)]
        best = min(promised, default=(INF, 0))
        return gaps[best[1]] if best[0] < INF else None


def _left(bound: float, spent: float) -> float:
    """Return what is left of a weighed bound, less what rounding may have added."""
    return bound - spent - ROUNDING * (abs(bound) + abs(spent))


def _undominated(points: list[Supported]) -> list[Supported]:
    kept: list[Supported] = []
    for point in points:
        if not kept or point.joules < kept[-1].joules * (1 - TOLERANCE):
            kept.append(point)
    return kept


def promise_of(request: Request) -> Promise:
    """Return where the optimum of a request lies on the hull."""
    deadline = INF if request.deadline_s is None else request.deadline_s
    budget = INF if request.budget_j is None else request.budget_j
    if request.pareto or (request.objective == "edp" and min(deadline, budget) < INF):
        return everywhere
    return products if request.objective == "edp" else around(deadline, budget)


def around(seconds: float = INF, joules: float = INF) -> Promise:
    """Promising where the deadline or the budget lies between two points."""

    def promise(_: Hull, left: Supported, right: Supported) -> float:
        held = left.seconds <= seconds < right.seconds or right.joules <= joules < left.joules
        return 0.0 if held else INF

    return promise


def products(hull: Hull, left: Supported, right: Supported) -> float:
    """Promising where a corner of the half-planes between two points has a smaller product than all points."""
    least = min(point.seconds * point.joules for point in hull.points)
    corner = hull.product_between(left.seconds, right.seconds)
    return corner if corner < least * (1 - 1e-12) else INF


def everywhere(_: Hull, left: Supported, right: Supported) -> float:
    """Return the whole hull, wide gaps first."""
    return -(right.seconds - left.seconds) * (left.joules - right.joules)
