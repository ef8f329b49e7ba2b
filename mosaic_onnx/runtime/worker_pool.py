"""The concurrent schedule: one worker thread a device; a slice starts when its inputs are there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.runtime.steps import Step

Timed = tuple[int, Step, float, float]
"""Slice, step, start and end on ``time.perf_counter``'s clock."""


@dataclass(frozen=True)
class Task:
    """A slice as its worker sees it.

    Attributes:
        slice: its index in the plan.
        steps: what to do, in order.
        waits: slices of other devices that must be over first.
        is_awaited: a slice of another device waits for this one.
    """

    slice: int
    steps: tuple[Step, ...]
    waits: tuple[int, ...]
    is_awaited: bool


@dataclass
class _Run:
    """The state of one run; guarded by the crew's condition."""

    over: set[int] = field(default_factory=set)
    lanes_left: int = 0
    is_stopped: bool = False
    error: BaseException | None = None
    timed: list[Timed] = field(default_factory=list)


class Crew:
    """Worker threads that live as long as the program: one for each device that runs a slice."""

    def __init__(self, tasks: Mapping[str, Sequence[Task]], cores: Mapping[str, frozenset[int]]) -> None:
        """Start the workers.

        Args:
            tasks: by device, in the plan's order.
            cores: by device, where its worker is held; a device that is absent is not held.
        """
        self._condition = threading.Condition()
        self._run: _Run | None = None
        self._is_closed = False
        self._threads = [
            threading.Thread(
                target=self._work, args=(tuple(lane), cores.get(device)), name=f"mosaic {device}", daemon=True
            )
            for device, lane in tasks.items()
        ]
        for thread in self._threads:
            thread.start()

    def run(self) -> list[Timed]:
        """Run every task once; returns what was done and when.

        Raises:
            BaseException: the first error of a worker, after all of them have stopped. On Ctrl-C the workers finish the
                step that they are in, and KeyboardInterrupt goes on to the caller.
        """
        run = _Run(lanes_left=len(self._threads))
        with self._condition:
            if self._is_closed:
                raise BackendError("the program was closed")
            self._run = run
            self._condition.notify_all()
            try:
                self._await(run)
            except BaseException:
                run.is_stopped = True
                self._condition.notify_all()
                self._await(run)
                raise
        if run.error is not None:
            raise run.error
        return run.timed

    def _await(self, run: _Run) -> None:
        while run.lanes_left:
            self._condition.wait()

    def close(self) -> None:
        """Let the workers go; calling it twice is harmless."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _work(self, lane: tuple[Task, ...], cores: frozenset[int] | None) -> None:
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)  # this thread only
        seen: _Run | None = None
        while (run := self._next(seen)) is not None:
            seen = run
            timed: list[Timed] = []
            error: BaseException | None = None
            try:
                self._do(lane, run, timed)
            except BaseException as raised:  # whatever it is, it belongs to the caller of ``run``
                error = raised
            with self._condition:
                run.timed += timed
                run.lanes_left -= 1
                if error is not None:
                    run.is_stopped = True
                    run.error = run.error or error
                self._condition.notify_all()

    def _next(self, seen: _Run | None) -> _Run | None:
        with self._condition:
            while self._run is seen and not self._is_closed:
                self._condition.wait()
            return None if self._is_closed else self._run

    def _do(self, lane: Sequence[Task], run: _Run, timed: list[Timed]) -> None:
        clock = time.perf_counter
        for task in lane:
            if task.waits:
                with self._condition:
                    while not (run.is_stopped or run.over.issuperset(task.waits)):
                        self._condition.wait()
            for step in task.steps:
                if run.is_stopped:
                    return
                start = clock()
                step.call()
                timed.append((task.slice, step, start, clock()))
            if task.is_awaited:
                with self._condition:
                    run.over.add(task.slice)
                    self._condition.notify_all()
