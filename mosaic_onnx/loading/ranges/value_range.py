"""A range of values, both ends included."""

from __future__ import annotations

import math
from dataclasses import dataclass

INFINITY = math.inf


@dataclass(frozen=True)
class Range:
    """The values that a tensor's elements may take.

    Attributes:
        low: smallest, ``-inf`` for no limit.
        high: largest, ``inf`` for no limit.
        choices: values that the graph compares it with; the first is a good value for a mode or a rate.
        domain: the limit is a function's domain (such as a logarithm's); it is traced through copies only.
    """

    low: float = -INFINITY
    high: float = INFINITY
    choices: tuple[float, ...] = ()
    domain: bool = False

    def meet(self, other: Range) -> Range:
        """Return the intersection; where it is empty, the narrower range (an index matters more than a hint)."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        choices = self.choices + tuple(value for value in other.choices if value not in self.choices)
        if low > high:
            narrow = self if self.high - self.low <= other.high - other.low else other
            low, high = narrow.low, narrow.high
        return Range(low, high, choices, self.domain and other.domain)

    def shifted(self, least: float, most: float) -> Range:
        """Return the range of ``x`` if ``x + c`` must lie in this one for every ``c`` in ``least``…``most``."""
        return Range(self.low - least, self.high - most)

    def divided(self, factor: float) -> Range:
        """Return the range of ``x`` if ``x · factor`` must lie in this one."""
        if factor == 0:
            return Range()
        ends = (self.low / factor, self.high / factor)
        return Range(min(ends), max(ends))

    @property
    def is_bounded(self) -> bool:
        """Return whether it has a limit on both sides."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def is_limited(self) -> bool:
        """Return whether it has a limit on either side."""
        return math.isfinite(self.low) or math.isfinite(self.high)


def up_to(high: float) -> Range:
    """Return the range from 0 to ``high``."""
    return Range(0, max(0, high))


def exactly(value: float) -> Range:
    """Return the range of one value."""
    return Range(value, value)
