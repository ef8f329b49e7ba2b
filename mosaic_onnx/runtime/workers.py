"""One worker thread a device, fed by a queue in order of rank: of one request, of many, or of many models."""

from __future__ import annotations

import heapq
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import NamedTuple

from mosaic_onnx.core.errors import BackendError


class Rank(NamedTuple):
    """The order of a device's work: the lowest rank goes first.

    Attributes:
        priority: lower goes first; 0 is the usual one.
        request: number of the request; the older goes first.
        slice: index of the slice in its plan.
    """

    priority: int
    request: int
    slice: int


Job = Callable[[], None]
"""Work for one device; it deals with its own errors and must not raise."""


class Turns:
    """The lock of one worker, or of several that take turns."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.condition = threading.Condition(self.lock)  # entered by its lock, which is quicker


class DeviceWorker:
    """A thread that runs the jobs of one device, one at a time, lowest rank first; a running job is never broken off.

    While nothing runs or waits, any thread may borrow the device and use it itself, which saves two changes of thread.
    The thread starts with the first job. Devices that exclude each other take turns, lowest rank first as well.
    """

    def __init__(self, name: str, cores: frozenset[int] | None = None, turns: Turns | None = None) -> None:
        """Prepare a worker.

        Args:
            name: the device's name.
            cores: where the thread is held; None leaves it to the operating system.
            turns: shared by workers that exclude each other; None for one of its own.
        """
        self.name = name
        self._cores = cores
        turns = turns or Turns()
        self._lock, self._condition = turns.lock, turns.condition
        self.rivals: tuple[DeviceWorker, ...] = ()
        """Workers of the same turns that do not work while this one does."""
        self._queue: list[tuple[Rank, int, Job]] = []
        self._submitted_count = 0
        self._is_busy = False
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def submit(self, rank: Rank, job: Job) -> None:
        """Queue a job; jobs of equal rank run in the order in which they came.

        Raises:
            BackendError: the worker was closed.
        """
        with self._lock:
            if self._is_closed:
                raise BackendError(f"the worker of device {self.name} was closed")
            self._submitted_count += 1
            heapq.heappush(self._queue, (rank, self._submitted_count, job))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"mosaic {self.name}", daemon=True)
                self._thread.start()
            elif not self._is_busy:
                self._wake()

    def try_borrow(self, besides: Iterable[DeviceWorker] = ()) -> bool:
        """Take the device for the calling thread if it is idle; ``give_back`` must follow where this says True.

        Args:
            besides: workers that the same thread takes too: they do not stand in its way.
        """
        with self._lock:
            if self._is_closed or self._is_busy or self._queue:
                return False
            if self.rivals and any(one._is_busy or one._queue for one in self.rivals if one not in besides):
                return False
            self._is_busy = True
            return True

    def give_back(self) -> None:
        """End what ``try_borrow`` began."""
        with self._lock:
            self._is_busy = False
            if self._queue or self.rivals:
                self._wake()

    @property
    def waiting_count(self) -> int:
        """Jobs that wait, the running one not counted."""
        return len(self._queue)

    def close(self) -> None:
        """End the thread after its running job; jobs that wait are dropped. Calling it twice is harmless."""
        with self._lock:
            self._is_closed = True
            self._queue.clear()
            self._condition.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        if self._cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self._cores)  # this thread only
        job = self._next(is_after_job=False)
        while job is not None:
            job()
            del job  # an idle worker keeps nothing of a request alive
            job = self._next(is_after_job=True)

    def _next(self, *, is_after_job: bool) -> Job | None:
        with self._lock:
            if is_after_job:
                self._is_busy = False
                if self.rivals:
                    self._wake()
            while not self._is_closed and not self._may_begin():
                self._condition.wait()
            if self._is_closed:
                return None
            self._is_busy = True
            return heapq.heappop(self._queue)[2]

    def _may_begin(self) -> bool:
        """Return whether the first job may run now: no rival works, and none waits with a job of lower rank."""
        if self._is_busy or not self._queue:
            return False
        first = self._queue[0][:2]
        return not any(rival._is_busy or (rival._queue and rival._queue[0][:2] < first) for rival in self.rivals)

    def _wake(self) -> None:
        """Let whoever may begin now begin."""
        if self.rivals:
            self._condition.notify_all()
        else:
            self._condition.notify()


class Workers:
    """The workers of a machine's devices, shared by everything that runs on them."""

    def __init__(
        self,
        devices: Iterable[str],
        cores: Mapping[str, frozenset[int]] | None = None,
        exclusive: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Prepare a worker a device; threads start when they are first needed.

        Args:
            devices: device names.
            cores: by device, where its worker is held; a device that is absent is not held.
            exclusive: pairs of devices that never work at once, whichever requests they work for.
        """
        pairs = tuple(exclusive)
        turns = Turns() if pairs else None
        held = {name for pair in pairs for name in pair}
        self._workers = {
            name: DeviceWorker(name, (cores or {}).get(name), turns if name in held else None)
            for name in dict.fromkeys(devices)
        }
        for name, worker in self._workers.items():
            names = [b if a == name else a for a, b in pairs if name in (a, b)]
            worker.rivals = tuple(self._workers[other] for other in names if other in self._workers)
        self._numbers = count()

    def __getitem__(self, device: str) -> DeviceWorker:
        return self._workers[device]

    def __contains__(self, device: str) -> bool:
        return device in self._workers

    def next_number(self) -> int:
        """A number for a request that begins: counted over all models, so that none of them goes before the others."""
        return next(self._numbers)

    def try_borrow(self, devices: Iterable[str]) -> bool:
        """Take several devices for the calling thread if all of them are idle; else none."""
        borrowed: list[DeviceWorker] = []
        wanted = [self._workers[device] for device in devices]
        for worker in wanted:
            if not worker.try_borrow(wanted):
                for each in borrowed:
                    each.give_back()
                return False
            borrowed.append(worker)
        return True

    def give_back(self, devices: Iterable[str]) -> None:
        """End what ``try_borrow`` began."""
        for device in devices:
            self._workers[device].give_back()

    def close(self) -> None:
        """End all threads; calling it twice is harmless."""
        for worker in self._workers.values():
            worker.close()
