"""The time that all plans of one compilation take together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class PlanningTime:
    """A clock that runs while plans are made, and stands still while slices are measured.

    A compilation has one for all its rounds, also those that begin again without a device that failed. Like a note or
    a word of progress it is told of the work and is no part of it.

    Attributes:
        spent_s: what it has counted so far.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin at 0; ``clock`` tells the time, in seconds."""
        self._clock = clock
        self.spent_s = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Let it run inside the context."""
        began_s = self._clock()
        try:
            yield
        finally:
            self.spent_s += self._clock() - began_s
