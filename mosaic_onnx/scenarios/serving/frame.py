"""One frame of one model on its way through the devices."""

from __future__ import annotations

import threading
from dataclasses import dataclass


class FrameDropped(Exception):
    """A frame was dropped before it began; nothing of it runs."""


@dataclass(frozen=True)
class SliceSpan:
    """One slice of a frame on its device; times since the server started.

    Attributes:
        slice: index in the model's plan.
        device: which ran it.
        start_s: when it began.
        end_s: when it ended, copies in and out of it among it.
    """

    slice: int
    device: str
    start_s: float
    end_s: float


class Frame:
    """The record of one frame; times are since the server started."""

    def __init__(self, model: str, number: int, arrival_s: float, due_s: float) -> None:
        """Let a frame arrive.

        Args:
            model: ``group/model``.
            number: counts the frames of the model.
            arrival_s: when it was due to arrive.
            due_s: its deadline.
        """
        self.model = model
        self.number = number
        self.arrival_s = arrival_s
        self.due_s = due_s
        self.completion_s: float | None = None
        self.spans: tuple[SliceSpan, ...] = ()
        self.error: BaseException | None = None
        self.rerun_count = 0
        """The number of times it ran again on other slices, after a device had failed on it."""
        self.is_wrong = False
        """Its outputs were compared with the expected ones, and differed."""
        self._lock = threading.Lock()
        self._has_begun = False
        self._is_dropped = False

    @property
    def is_dropped(self) -> bool:
        """Return whether it was dropped."""
        return self._is_dropped

    @property
    def is_late(self) -> bool:
        """Return whether it completed after its deadline."""
        return self.completion_s is not None and self.completion_s > self.due_s

    @property
    def latency_s(self) -> float | None:
        """Return the seconds from its arrival to its completion; None where it did not complete."""
        return None if self.completion_s is None else self.completion_s - self.arrival_s

    def begin(self) -> None:
        """Mark that its first slice begins.

        Raises:
            FrameDropped: it was dropped meanwhile.
        """
        with self._lock:
            if self._is_dropped:
                raise FrameDropped
            self._has_begun = True

    def run_again(self) -> None:
        """Forget its failure: it runs again from its first slice, and is not dropped any more."""
        with self._lock:
            self.error = None
            self.rerun_count += 1

    def drop(self) -> bool:
        """Drop it if it has not begun; whether it is dropped."""
        with self._lock:
            if not self._has_begun:
                self._is_dropped = True
            return self._is_dropped
