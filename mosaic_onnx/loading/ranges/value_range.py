"""A range of values, both ends included."""

from __future__ import annotations

import math
from dataclasses import dataclass

INFINITY = math.inf


@dataclass(frozen=True)
class Range:
    """The values that something may take.

    Attributes:
        low: smallest, ``-inf`` for no limit.
        high: largest, ``inf`` for no limit.
        choices: values that the graph compares it with; the first is a good value for a mode or a rate.
        domain: the limit is where a function such as a logarithm is defined; it is followed through copies only.
    """

    low: float = -INFINITY
    high: float = INFINITY
    choices: tuple[float, ...] = ()
    domain: bool = False

    def meet(self, other: Range) -> Range:
        """What both allow; where they exclude each other, the narrower one (an index matters more than a hint)."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        choices = self.choices + tuple(value for value in other.choices if value not in self.choices)
        if low > high:
            narrow = self if self.high - self.low <= other.high - other.low else other
            low, high = narrow.low, narrow.high
        return Range(low, high, choices, self.domain and other.domain)

    def shifted(self, least: float, most: float) -> Range:
        """What ``x`` may be if ``x + c`` must lie here for every ``c`` in ``least``…``most``."""
        return Range(self.low - least, self.high - most)

    def divided(self, factor: float) -> Range:
        """What ``x`` may be if ``x · factor`` must lie here."""
        if factor == 0:
            return Range()
        ends = (self.low / factor, self.high / factor)
        return Range(min(ends), max(ends))

    @property
    def is_bounded(self) -> bool:
        """It has a limit on both sides."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def is_limited(self) -> bool:
        """It has a limit on some side."""
        return math.isfinite(self.low) or math.isfinite(self.high)


def up_to(high: float) -> Range:
    """0…high."""
    return Range(0, max(0, high))


def exactly(value: float) -> Range:
    """One value."""
    return Range(value, value)
