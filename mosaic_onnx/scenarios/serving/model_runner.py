"""One model of a scenario: its slices loaded once, buffers for a few frames, outputs that can be checked."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mosaic_onnx.backends.base import Array
from mosaic_onnx.runtime.opening import LoadedPlan
from mosaic_onnx.runtime.request_run import RequestRun, slice_order
from mosaic_onnx.runtime.slot import Slot
from mosaic_onnx.runtime.steps import Step
from mosaic_onnx.runtime.workers import Workers
from mosaic_onnx.scenarios.serving.frame import Frame, FrameDropped, SliceSpan

SLOTS = 2
"""Frames of one model that may be under way at once."""


class _Room:
    """A slot, and the frame that it holds."""

    def __init__(self, loaded: LoadedPlan, first: Sequence[int]) -> None:
        self.slot = Slot(loaded.slices, loaded.wiring)
        self.frame: Frame | None = None
        self.steps: list[Sequence[Step]] = [list(steps) for steps in self.slot.program.steps]
        for k in first:
            self.steps[k] = self._marking(self.steps[k])

    def _marking(self, steps: Sequence[Step]) -> Sequence[Step]:
        """Return the steps of a first slice; the first of them marks that the frame begins."""
        call = steps[0].call

        def begin() -> None:
            if self.frame is not None:
                self.frame.begin()
            call()

        return [replace(steps[0], call=begin), *steps[1:]]


class ModelRunner:
    """Runs frames of one model on shared workers; a frame that finds no room waits for one."""

    def __init__(
        self,
        name: str,
        loaded: LoadedPlan,
        workers: Workers,
        inputs: Mapping[str, Array],
        *,
        slot_count: int = SLOTS,
        check_every: int = 0,
    ) -> None:
        """Bind the loaded slices.

        Args:
            name: ``group/model``.
            loaded: its slices; closed with the runner.
            workers: of all devices, shared by all models.
            inputs: what every frame is fed with.
            slot_count: frames under way at once.
            check_every: compare the outputs of every so many frames with those of a first run; 0 for none.
        """
        self.name = name
        self.devices = tuple(each.device for each in loaded.slices)
        self._loaded = loaded
        self._workers = workers
        self._inputs = inputs
        self._check_every = check_every
        self._order = slice_order(self.devices, loaded.wiring.needs, concurrent=loaded.is_concurrent)
        self._rooms = [_Room(loaded, self._order.first) for _ in range(slot_count)]
        self._free = list(self._rooms)
        self._waiting: deque[tuple[Frame, int, float, Callable[[Frame], None]]] = deque()
        self._runs: dict[Frame, RequestRun] = {}
        self._condition = threading.Condition()
        self._expected = self._rooms[0].slot.run(inputs) if check_every else {}

    def submit(self, frame: Frame, priority: int, started_s: float, on_over: Callable[[Frame], None]) -> None:
        """Let a frame run when there is room.

        Args:
            frame: which.
            priority: lower goes first on every device.
            started_s: when the server started, on ``time.perf_counter``'s clock.
            on_over: called on a worker's thread when the frame is complete, dropped or failed.
        """
        with self._condition:
            self._waiting.append((frame, priority, started_s, on_over))
        self._start_waiting()

    def drop(self, frame: Frame) -> bool:
        """Drop a frame if it has not begun; whether it is dropped."""
        if not frame.drop():
            return False
        with self._condition:
            run = self._runs.get(frame)
        if run is not None:
            run.stop()
        self._start_waiting()
        return True

    def close(self) -> None:
        """Wait for the frames that are under way, then give the slices back."""
        with self._condition:
            while self._runs or self._waiting:
                self._condition.wait()
        self._loaded.close()

    def _start_waiting(self) -> None:
        """Begin frames as long as there is room; those that were dropped while they waited are over."""
        while True:
            with self._condition:
                if not self._waiting or not (self._free or self._waiting[0][0].is_dropped):
                    return
                frame, priority, started_s, on_over = self._waiting.popleft()
                room = None if frame.is_dropped else self._free.pop()
            if room is None:
                self._end(frame, None, on_over)
            else:
                self._start(room, frame, priority, started_s, on_over)

    def _start(
        self, room: _Room, frame: Frame, priority: int, started_s: float, on_over: Callable[[Frame], None]
    ) -> None:
        room.frame = frame
        run = RequestRun(
            self._order,
            room.steps,
            self._workers,
            lambda over: self._over(room, frame, over, started_s, on_over),
            number=self._workers.next_number(),
            priority=priority,
            begin=lambda: room.slot.take(self._inputs),
            is_timed=True,
        )
        with self._condition:
            self._runs[frame] = run
        run.start()

    def _over(
        self, room: _Room, frame: Frame, run: RequestRun, started_s: float, on_over: Callable[[Frame], None]
    ) -> None:
        """Take what the frame made; on a worker's thread."""
        frame.spans = self._spans(run, started_s)
        if not frame.is_dropped and run.error is None:
            try:
                outputs = room.slot.give()
                frame.completion_s = max((span.end_s for span in frame.spans), default=frame.arrival_s)
                if self._check_every and frame.number % self._check_every == 0:
                    frame.is_wrong = not _are_equal(outputs, self._expected)
            except Exception as error:
                frame.error = error
        elif not isinstance(run.error, FrameDropped):
            frame.error = run.error
        self._end(frame, room, on_over)
        self._start_waiting()

    def _end(self, frame: Frame, room: _Room | None, on_over: Callable[[Frame], None]) -> None:
        on_over(frame)
        with self._condition:
            self._runs.pop(frame, None)
            if room is not None:
                room.frame = None
                self._free.append(room)
            self._condition.notify_all()

    def _spans(self, run: RequestRun, started_s: float) -> tuple[SliceSpan, ...]:
        """Return each slice from its first step's start to its last step's end."""
        bounds: dict[int, tuple[float, float]] = {}
        for k, _, began_s, ended_s in run.timed:
            before = bounds.get(k, (began_s, ended_s))
            bounds[k] = min(before[0], began_s), max(before[1], ended_s)
        return tuple(
            SliceSpan(k, self.devices[k], began_s - started_s, ended_s - started_s)
            for k, (began_s, ended_s) in sorted(bounds.items())
        )


def _are_equal(outputs: Mapping[str, Array], expected: Mapping[str, Array]) -> bool:
    """Return whether the outputs are the expected ones, bit for bit."""
    return all(
        np.array_equal(np.ascontiguousarray(outputs[name]).view(np.uint8), np.ascontiguousarray(array).view(np.uint8))
        if array.dtype != object
        else np.array_equal(outputs[name], array)
        for name, array in expected.items()
    )
