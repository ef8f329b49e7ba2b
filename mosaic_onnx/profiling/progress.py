"""How far measuring has come: what is done, what is left, when it will end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Progress = Callable[[int, int, float], None]
"""Called with (measurements done, measurements in all as far as known, seconds left)."""


@dataclass
class Ticker:
    """Counts measurements and tells whoever wants to know; figures from the cache count as done at once.

    Attributes:
        tell: whom; None for nobody.
        done: how many measurements are done.
        total: how many there will be, as far as is known now.
        spent_s: what the measured ones took.
        measured: how many of those done were measured, not found in the cache.
    """

    tell: Progress | None = None
    done: int = 0
    total: int = 0
    spent_s: float = 0.0
    measured: int = 0
    _started: float = field(default_factory=time.perf_counter)

    def expect(self, count: int) -> None:
        """More measurements have become known."""
        self.total += count
        self._call()

    def begin(self) -> None:
        """One measurement begins."""
        self._started = time.perf_counter()

    def end(self, was_measured: bool) -> None:
        """It ended; ``was_measured`` unless the cache had it."""
        self.done += 1
        self.total = max(self.total, self.done)
        if was_measured:
            self.measured += 1
            self.spent_s += time.perf_counter() - self._started
        self._call()

    def _call(self) -> None:
        if self.tell is not None:
            each_s = self.spent_s / self.measured if self.measured else 0.0
            self.tell(self.done, self.total, each_s * (self.total - self.done))
