"""Serve a scenario by the wall clock: frames arrive, late ones are dropped; models and periods may change."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.runtime.workers import Workers
from mosaic_onnx.scenarios.scenario import DropRule, Group
from mosaic_onnx.scenarios.schedule import Policy
from mosaic_onnx.scenarios.serving.frame import Frame
from mosaic_onnx.scenarios.serving.model_runner import ModelRunner
from mosaic_onnx.scenarios.serving.statistics import ScenarioStatistics, Tally

KEPT_FRAMES = 20_000
"""Frames that are over and kept with their slices' times; a server that runs for days must not grow."""
_MICROSECONDS = 1e6


@dataclass
class _ServedGroup:
    """A group that is served.

    Attributes:
        group: with its period and deadline in force.
        nominal_s: when its next request is due, before jitter.
        next_s: when it arrives.
        number: of that request.
        last: the newest frame of each model.
    """

    group: Group
    nominal_s: float
    next_s: float
    number: int = 0
    last: dict[str, Frame] = field(default_factory=dict)


@dataclass(frozen=True)
class ServingOrder:
    """The priorities of slices.

    Attributes:
        priority: ``group/model``, the most urgent first.
        policy: as in a schedule; ``least-slack`` goes by deadlines, and ``fifo`` by arrivals, since a frame has one
            rank on all devices.
    """

    priority: tuple[str, ...]
    policy: Policy = "priority"

    def rank(self, frame: Frame) -> int:
        """Return a frame's rank; lower goes first, and of equal ones the older."""
        if self.policy == "fifo":
            return 0
        if self.policy == "priority":
            return self.priority.index(frame.model)
        return round(frame.due_s * _MICROSECONDS)


class ScenarioServer:
    """Serves models on shared workers until it is closed."""

    def __init__(
        self,
        groups: Sequence[Group],
        runners: Mapping[str, ModelRunner],
        order: ServingOrder,
        workers: Workers,
        devices: Sequence[str],
        *,
        drop: DropRule = "late",
        seed: int = 0,
        on_frame: Callable[[Frame], None] = lambda frame: None,
        rescue: Callable[[Frame], bool] = lambda frame: False,
        kept_frame_count: int = KEPT_FRAMES,
    ) -> None:
        """Prepare; ``start`` begins.

        Args:
            groups: with the periods and deadlines to be served.
            runners: of every model, by ``group/model``; closed with the server.
            order: which slices go first.
            workers: of all devices; closed with the server.
            devices: their names, in the order to tell them.
            drop: what happens to frames that have not begun when their successors arrive.
            seed: of the jitter.
            on_frame: called with every frame that is over, on a worker's thread.
            rescue: called on a worker's thread with a frame that failed; where it says True, the frame runs again on
                the slices that are in force then. It may call ``change``.
            kept_frame_count: frames that are over and can still be asked for; older ones are only counted.
        """
        self._runners = dict(runners)
        self._order = order
        self._workers = workers
        self._devices = tuple(devices)
        self._drop = drop
        self._on_frame = on_frame
        self._rescue = rescue
        self._random = random.Random(seed)
        self._condition = threading.Condition()
        self._groups = {group.name: _ServedGroup(group, 0.0, 0.0) for group in groups}
        self._over: deque[Frame] = deque(maxlen=kept_frame_count)
        self._tally = Tally()
        self._open_count = 0
        self._is_stopping = False
        self._started_s = 0.0
        self._thread = threading.Thread(target=self._serve, name="mosaic arrivals", daemon=True)
        self._retired: list[ModelRunner] = []
        self._check_runners()

    # ---- serving -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Let the first requests arrive."""
        self._started_s = time.perf_counter()
        self._thread.start()

    def serve_for(self, seconds: float) -> None:
        """Serve for so long, then stop."""
        self.start()
        self._thread.join(seconds)
        self.stop()

    def stop(self) -> None:
        """Let no further request arrive, and wait for the frames that are under way."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        with self._condition:
            while self._open_count:
                self._condition.wait()

    def close(self) -> None:
        """Stop, and give slices and workers back."""
        self.stop()
        for runner in (*self._runners.values(), *self._retired):
            runner.close()
        self._workers.close()

    def __enter__(self) -> ScenarioServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """Return the time since the start."""
        return time.perf_counter() - self._started_s

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Return the frames that are over, in the order in which they ended: the last ``kept_frame_count``."""
        with self._condition:
            return tuple(self._over)

    def statistics(self) -> ScenarioStatistics:
        """Return what the frames so far came to."""
        with self._condition:
            names = [f"{name}/{entry.name}" for name, one in self._groups.items() for entry in one.group.models]
            return self._tally.statistics(names, self._devices, self.seconds)

    # ---- changes while it runs ---------------------------------------------------------------------------------------

    def change(self, groups: Sequence[Group], runners: Mapping[str, ModelRunner], order: ServingOrder) -> None:
        """Serve other groups, periods or slices from the next requests on.

        Frames that have begun end on the slices that they began on. A group that stays keeps its rhythm: its next
        request comes a period, the new one, after the last.

        Args:
            groups: all that are to be served from now on.
            runners: of every model; those that stay may be the same objects.
            order: which slices go first.

        Raises:
            UsageError: a model has no runner, or no place in the order.
        """
        with self._condition:
            before = self._groups, self._runners, self._order
            now = self.seconds
            self._groups = {group.name: self._kept(group, now) for group in groups}
            self._runners, self._order = dict(runners), order
            try:
                self._check_runners()
            except UsageError:
                self._groups, self._runners, self._order = before
                raise
            kept = set(map(id, runners.values()))
            self._retired += [one for one in before[1].values() if id(one) not in kept]
            self._condition.notify_all()

    def _kept(self, group: Group, now: float) -> _ServedGroup:
        known = self._groups.get(group.name)
        if known is None:
            return _ServedGroup(group, now, now)
        next_s = max(now, known.nominal_s - known.group.period_s + group.period_s)
        return _ServedGroup(group, next_s, next_s, known.number, known.last)

    def _check_runners(self) -> None:
        """Refuse a model without a runner or a place in the order."""
        for name, served in self._groups.items():
            for entry in served.group.models:
                model = f"{name}/{entry.name}"
                if model not in self._runners or model not in self._order.priority:
                    raise UsageError(f"model {model} has no slices or no place in the order")

    # ---- the arrivals' thread ----------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            with self._condition:
                if self._is_stopping:
                    return
                due = min(self._groups.values(), key=lambda one: one.next_s, default=None)
                wait_s = 1.0 if due is None else due.next_s - self.seconds
                if due is None or wait_s > 0:
                    self._condition.wait(wait_s)
                    continue
                arrived = self._arrive(due)
                self._open_count += len(arrived)
                order, started_s = self._order, self._started_s
                runners = [self._runners[frame.model] for frame in arrived]
            for frame, runner in zip(arrived, runners, strict=True):
                runner.submit(frame, order.rank(frame), started_s, self._ended)

    def _arrive(self, served: _ServedGroup) -> list[Frame]:
        """Make the frames of a request, and drop those that they overtake."""
        group = served.group
        arrived = []
        for entry in group.models:
            model = f"{group.name}/{entry.name}"
            before = served.last.get(model)
            if before is not None and self._drop == "late":
                self._runners[model].drop(before)
            frame = Frame(model, served.number, served.next_s, served.next_s + group.deadline_s)
            served.last[model] = frame
            arrived.append(frame)
        served.number += 1
        served.nominal_s += group.period_s
        late_s = self._random.uniform(0.0, group.jitter_s) if group.jitter_s else 0.0
        served.next_s = max(served.next_s, served.nominal_s + late_s)
        return arrived

    def _ended(self, frame: Frame) -> None:
        if frame.error is not None and self._rescue(frame) and self._run_again(frame):
            return
        with self._condition:
            self._over.append(frame)
            self._tally.add(frame)
            self._open_count -= 1
            self._condition.notify_all()
        self._on_frame(frame)

    def _run_again(self, frame: Frame) -> bool:
        """Submit a frame to the slices that are in force now; whether its model is still served."""
        with self._condition:
            runner, order = self._runners.get(frame.model), self._order
            if runner is None or frame.model not in order.priority:
                return False
            frame.run_again()
        runner.submit(frame, order.rank(frame), self._started_s, self._ended)
        return True
