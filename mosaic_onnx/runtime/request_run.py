"""One request on its way through the slices of a plan: each slice is a job of its device's worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.runtime.steps import Step
from mosaic_onnx.runtime.workers import Rank, Workers

Timed = tuple[int, Step, float, float]
"""Slice, step, start and end on ``time.perf_counter``'s clock."""


@dataclass(frozen=True)
class SliceOrder:
    """The dependencies among the slices of a request.

    Attributes:
        devices: [slice] the device that runs it.
        followers: [slice] slices that may start once it is over and whatever else they wait for is.
        wait_counts: [slice] how many slices it waits for.
    """

    devices: tuple[str, ...]
    followers: tuple[tuple[int, ...], ...]
    wait_counts: tuple[int, ...]

    @property
    def first(self) -> tuple[int, ...]:
        """Slices that wait for none."""
        return tuple(index for index, count in enumerate(self.wait_counts) if count == 0)


def slice_order(devices: Sequence[str], needs: Sequence[Sequence[int]], *, concurrent: bool) -> SliceOrder:
    """The order of a plan's slices.

    Args:
        devices: [slice] the device that runs it.
        needs: [slice] slices that make what it reads.
        concurrent: a slice waits for what it reads and for the one before it on its device; else for the one before it
            in the plan.
    """
    waits: list[set[int]] = []
    last: dict[str, int] = {}
    for index, device in enumerate(devices):
        before = {*needs[index], *([last[device]] if device in last else [])}
        waits.append(before if concurrent else set(range(max(0, index - 1), index)))
        last[device] = index
    followers: list[list[int]] = [[] for _ in devices]
    for index, before in enumerate(waits):
        for other in before:
            followers[other].append(index)
    return SliceOrder(tuple(devices), tuple(map(tuple, followers)), tuple(len(before) for before in waits))


class RequestRun:
    """A request that is under way.

    A failing step ends the request: slices that have not begun are left out, and the others finish the step that they
    are in. Requests beside it go on.
    """

    def __init__(
        self,
        order: SliceOrder,
        steps: Sequence[Sequence[Step]],
        workers: Workers,
        on_over: Callable[[RequestRun], None],
        *,
        number: int = 0,
        priority: int = 0,
        begin: Callable[[], None] | None = None,
        is_timed: bool = False,
    ) -> None:
        """Prepare a run; ``start`` begins it.

        Args:
            order: of the slices.
            steps: [slice] what its device does for it.
            workers: of the devices.
            on_over: called once, on a worker's thread, when nothing of the request runs any more.
            number: of the request.
            priority: of the request; lower goes first.
            begin: called before the first step, on the thread of the first slice's worker.
            is_timed: note when each step began and ended.
        """
        self._order = order
        self._steps = steps
        self._workers = workers
        self._on_over = on_over
        self._rank = priority, number
        self._begin = begin
        self._is_timed = is_timed
        self._lock = threading.Lock()
        self._waits = list(order.wait_counts)
        self._pending_count = 0
        """Slices that are queued or run."""
        self._is_stopped = False
        self.error: BaseException | None = None
        """The error that ended it early; None where it is whole."""
        self.timed: list[Timed] = []

    def start(self) -> None:
        """Hand the first slices to their workers."""
        first = self._order.first
        if self._begin is not None and len(first) > 1:
            self._begin()
            self._begin = None
        with self._lock:
            self._pending_count += len(first)
        for index in first:
            self._submit(index)

    def stop(self) -> None:
        """Start no further step; ``on_over`` comes when those that run are over."""
        self._is_stopped = True

    def _submit(self, index: int) -> None:
        try:
            self._workers[self._order.devices[index]].submit(Rank(*self._rank, index), lambda: self._run_slice(index))
        except BackendError as error:  # the worker was closed meanwhile
            self._fail(error)
            self._end_slice(index)

    def _run_slice(self, index: int) -> None:
        try:
            if self._begin is not None:
                begin, self._begin = self._begin, None
                begin()
            self._run_steps(index)
        except BaseException as error:  # whatever it is, it belongs to the request's caller
            self._fail(error)
        self._end_slice(index)

    def _run_steps(self, index: int) -> None:
        clock = time.perf_counter
        for step in self._steps[index]:
            if self._is_stopped:
                return
            if not self._is_timed:
                step.call()
                continue
            began_s = clock()
            step.call()
            self.timed.append((index, step, began_s, clock()))

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error
            self._is_stopped = True

    def _end_slice(self, index: int) -> None:
        ready: list[int] = []
        with self._lock:
            if not self._is_stopped:
                for follower in self._order.followers[index]:
                    self._waits[follower] -= 1
                    if self._waits[follower] == 0:
                        ready.append(follower)
            self._pending_count += len(ready) - 1
            is_over = self._pending_count == 0
        for follower in ready:
            self._submit(follower)
        if is_over:
            self._on_over(self)
