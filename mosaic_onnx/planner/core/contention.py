"""Slices that slow each other: how far each has come while others work beside it."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod


class Contention:
    """Progress of the running slices. A slice works at 1 / (product of the factors of the units that work beside it).

    The factors are measured pair by pair; that they multiply where three units work at once is an assumption.
    """

    def __init__(self, slowdown: tuple[tuple[float, ...], ...]) -> None:
        """Start with all units idle.

        Args:
            slowdown: [U][U] factor by which slices of the first unit take longer while the second works.
        """
        self._slowdown = slowdown
        self._left_s: dict[int, float] = {}
        self._factor: dict[int, float] = {}
        self._version = [0] * len(slowdown)
        self._updated_s = 0.0
        self._changed = False

    def start(self, unit: int, seconds: float, now: float) -> None:
        """Let a unit begin ``seconds`` of undisturbed work."""
        self._advance(now)
        self._left_s[unit] = seconds
        self._factor[unit] = 0.0
        self._changed = True

    def ended(self, unit: int, version: int, now: float) -> bool:
        """Take a unit's slice as done; False where the announced end is out of date."""
        if unit not in self._left_s or self._version[unit] != version:
            return False
        self._advance(now)
        del self._left_s[unit], self._factor[unit]
        self._changed = True
        return True

    def new_ends(self, now: float) -> Iterator[tuple[float, int, int]]:
        """Announce (end, unit, version) of every slice whose pace is another since the last call."""
        if not self._changed:
            return
        self._changed = False
        for unit, left_s in self._left_s.items():
            factor = prod(self._slowdown[unit][other] for other in self._left_s if other != unit)
            if factor != self._factor[unit]:
                self._factor[unit] = factor
                self._version[unit] += 1
                yield now + left_s * factor, unit, self._version[unit]

    def _advance(self, now: float) -> None:
        passed_s = now - self._updated_s
        self._updated_s = now
        if passed_s > 0:
            for unit, factor in self._factor.items():
                if factor > 0:
                    self._left_s[unit] = max(0.0, self._left_s[unit] - passed_s / factor)
