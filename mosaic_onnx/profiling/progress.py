"""Progress of profiling: measurements done, in all, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Progress = Callable[[int, int, float], None]
"""Called with (measurements done, measurements in all as far as known, seconds left)."""


@dataclass
class Ticker:
    """Counts measurements and reports the progress; stored measurements count as done at once.

    Attributes:
        tell: called with the progress; None for no reports.
        done: how many measurements are done.
        total: number of measurements in all, as far as known.
        spent_s: time of those that were measured.
        measured: number of those done that were measured, not stored ones.
    """

    tell: Progress | None = None
    done: int = 0
    total: int = 0
    spent_s: float = 0.0
    measured: int = 0
    _started: float = field(default_factory=time.perf_counter)

    def expect(self, count: int) -> None:
        """Add measurements to the total."""
        self.total += count
        self._call()

    def begin(self) -> None:
        """Start the clock of one measurement."""
        self._started = time.perf_counter()

    def end(self, was_measured: bool) -> None:
        """Count one measurement; ``was_measured`` unless it was stored before."""
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
