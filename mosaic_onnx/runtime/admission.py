"""Requests that wait for a slot, in order; and results handed out in the order in which requests came."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.errors import BackendError

Outputs = dict[str, Array]


@dataclass
class Ticket:
    """A request from its submission to its result.

    Attributes:
        inputs: the model's inputs; let go once they are read.
        names: outputs that are asked for.
        priority: lower goes first.
        number: counts the requests of one priority.
        future: what the caller waits for.
    """

    inputs: Mapping[str, Array]
    names: tuple[str, ...]
    priority: int
    number: int
    future: Future[Outputs]

    def __lt__(self, other: Ticket) -> bool:
        return (self.priority, self.number) < (other.priority, other.number)


class Admission:
    """The waiting line of a session: bounded, by priority, then first come first served."""

    def __init__(self, limit: int) -> None:
        """Open the line.

        Args:
            limit: requests that wait at most; a further submission blocks.
        """
        self._limit = limit
        self._condition = threading.Condition(threading.Lock())
        self._waiting: list[Ticket] = []
        self._numbers: dict[int, int] = {}
        self._unfinished_count = 0
        self._is_closed = False

    def enter(self, inputs: Mapping[str, Array], names: tuple[str, ...], priority: int) -> Ticket:
        """Join the line; blocks while it is full.

        Raises:
            BackendError: the session was closed.
        """
        with self._condition:
            while len(self._waiting) >= self._limit and not self._is_closed:
                self._condition.wait()
            if self._is_closed:
                raise BackendError("the session was closed")
            number = self._numbers.get(priority, 0)
            self._numbers[priority] = number + 1
            ticket = Ticket(inputs, names, priority, number, Future())
            heapq.heappush(self._waiting, ticket)
            self._unfinished_count += 1
            return ticket

    def next(self) -> Ticket | None:
        """The first of the line leaves it; None where nobody waits."""
        with self._condition:
            if not self._waiting:
                return None
            ticket = heapq.heappop(self._waiting)
            self._condition.notify_all()
            return ticket

    def finish(self) -> None:
        """A request that entered is over."""
        with self._condition:
            self._unfinished_count -= 1
            self._condition.notify_all()

    @property
    def waiting_count(self) -> int:
        """Requests in the line."""
        return len(self._waiting)

    @property
    def is_closed(self) -> bool:
        """True where further requests are refused."""
        return self._is_closed

    def close(self) -> None:
        """Refuse further requests and wait until those that entered are over."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
            while self._unfinished_count:
                self._condition.wait()


class InOrder:
    """Hands results out in the order of their tickets, whichever is ready first; priorities do not wait for another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready: dict[tuple[int, int], Callable[[], None]] = {}
        self._next: dict[int, int] = {}
        self._due: deque[Callable[[], None]] = deque()
        self._is_delivering = False

    def deliver(self, ticket: Ticket, hand_out: Callable[[], None]) -> None:
        """Call ``hand_out`` once all older tickets of the same priority were handed out: now, or by who brings those.

        One thread at a time hands out, and holds no lock meanwhile: what a caller hangs on a future may submit again.
        """
        with self._lock:
            self._ready[ticket.priority, ticket.number] = hand_out
            number = self._next.get(ticket.priority, 0)
            while (call := self._ready.pop((ticket.priority, number), None)) is not None:
                self._due.append(call)
                number += 1
            self._next[ticket.priority] = number
            if self._is_delivering:
                return
            self._is_delivering = True
        while True:
            with self._lock:
                if not self._due:
                    self._is_delivering = False
                    return
                call = self._due.popleft()
            call()
