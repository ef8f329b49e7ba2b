"""The discrete-event simulation of a schedule.

A unit runs one slice at a time, without preemption: when it is free, the first of its ready slices by the schedule's
policy. Of what happens at one instant, slices and copies end first, then frames arrive (and drop a predecessor that
has not begun), then free units start. A frame has begun when its first slice has.

Where the slices of a unit vary (``UnitTimes.spread``), each slice of each frame draws its time from a log-normal
distribution about its mean: the same draws whatever the periods, so that a multiplier alone changes a run.

Where copies occupy devices, they are served first ready first, before slices, and a copy that waits for one of its
units lets nothing start on the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mosaic_onnx.planner.core.contention import Contention
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.simulation.arrivals import Arrivals
from mosaic_onnx.scenarios.simulation.late_binding import Binder, Running
from mosaic_onnx.scenarios.slice_graph import SliceGraph

INF = float("inf")
SLICE_END, COPY_END, INPUT, ENQUEUE, ARRIVAL = range(5)
"""Kinds of events, in the order in which those of one instant happen."""


_SPREAD_SEED = 0


class Span(NamedTuple):
    """One slice of one frame on a unit."""

    model: int
    frame: int
    slice: int
    unit: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Run:
    """The events of a simulation.

    Attributes:
        arrivals: when frames came and were due.
        completion_s: [M][F] when a frame's outputs were at host; inf where it was dropped.
        busy_s: [U] seconds in which each unit ran slices and level switches.
        spans: every slice that ran, in the order of their starts; empty unless traced.
    """

    arrivals: Arrivals
    completion_s: tuple[tuple[float, ...], ...]
    busy_s: tuple[float, ...]
    spans: tuple[Span, ...] = ()


def simulate_schedule(
    instance: Instance,
    schedule: Schedule,
    graphs: tuple[SliceGraph, ...],
    arrivals: Arrivals,
    *,
    traced: bool = False,
) -> Run:
    """Run all frames to their end.

    Args:
        instance: the scenario with costs.
        schedule: what is decided.
        graphs: [M] what ``slice_graphs`` makes of the schedule.
        arrivals: when frames come.
        traced: keep every slice's span.
    """
    return _Simulation(instance, schedule, graphs, arrivals, traced=traced).run()


class _Simulation:
    """The state of one simulation. Frames are numbered through: those of model ``m`` start at ``first[m]``."""

    def __init__(
        self,
        instance: Instance,
        schedule: Schedule,
        graphs: tuple[SliceGraph, ...],
        arrivals: Arrivals,
        *,
        traced: bool,
    ) -> None:
        self.instance, self.schedule, self.arrivals, self.traced = instance, schedule, arrivals, traced
        self.drops_late = instance.scenario.drop == "late"
        unit_count = len(instance.unit_names)
        self.events: list[tuple[float, int, int, int, int]] = []
        """(time, kind, order, two payloads)"""
        self.order = 0
        self.ready: list[list[tuple[float, float, int, int, int]]] = [[] for _ in range(unit_count)]
        """[U] (three keys, frame, slice) of the slices that wait for a unit"""
        self.running: list[Running | None] = [None] * unit_count
        self.level: list[int] = [-1] * unit_count
        """[U] state that the unit ran last"""
        self.busy_s = [0.0] * unit_count
        self.spans: list[Span] = []
        self.waiting_copies: list[tuple[int, int]] = []
        """(frame, copy) in the order in which they got ready"""
        self.copying = [False] * unit_count
        self.has_copies = any(graph.copies for graph in graphs)
        self.changed: set[int] = set()
        """units that got free, or got something to do, since they were looked at last"""
        self.contention = Contention(instance.slowdown) if instance.has_slowdown else None
        self.switch_s = [model.table.rows.switch_s for model in instance.models]
        self._make_frames(graphs)
        self.stretch = self._drawn(graphs)
        self.binder = Binder(instance, schedule, self.ready, self.running) if schedule.late_binding else None

    def _make_frames(self, graphs: tuple[SliceGraph, ...]) -> None:
        """Lay out all frames."""
        rank = {model: place for place, model in enumerate(self.schedule.priority)}
        self.first: list[int] = []
        self.graph: list[SliceGraph] = []
        self.model: list[int] = []
        self.rank: list[int] = []
        self.arrival_s: list[float] = []
        self.due_s: list[float] = []
        for m, model in enumerate(self.instance.models):
            self.first.append(len(self.model))
            times = self.arrivals.arrival_s[model.group]
            deadline_s = self.arrivals.deadline_s[model.group]
            count = len(times)
            self.graph += [graphs[m]] * count
            self.model += [m] * count
            self.rank += [rank[m]] * count
            self.arrival_s += times
            self.due_s += [time + deadline_s for time in times]
        frame_count = len(self.model)
        self.left: list[list[int]] = [list(graph.input_count) for graph in self.graph]
        """[frame][slice] inputs that have not arrived"""
        self.open_ends = [graph.end_count for graph in self.graph]
        self.begun = [False] * frame_count
        self.dropped = [False] * frame_count
        self.finish_s = [0.0] * frame_count

    def _drawn(self, graphs: tuple[SliceGraph, ...]) -> np.ndarray | None:
        """Return [frame][slice] standard normal draws; None where no unit's slices vary."""
        if not any(times.spread for times in self.instance.unit_times):
            return None
        most = max(len(graph.seconds) for graph in graphs)
        return np.random.default_rng(_SPREAD_SEED).standard_normal((len(self.model), most))

    def run(self) -> Run:
        """Simulate until nothing is left to happen."""
        for g, times in enumerate(self.arrivals.arrival_s):
            for f, time in enumerate(times):
                self._push(time, ARRIVAL, g, f)
        events = self.events
        while events:
            now = events[0][0]
            while events and events[0][0] == now:
                _, kind, _, one, two = heappop(events)
                if kind == SLICE_END:
                    self._end_slice(now, one, two)
                elif kind == INPUT:
                    self._input(now, one, two)
                elif kind == ARRIVAL:
                    self._arrive(now, one, two)
                elif kind == ENQUEUE:
                    self._enqueue(now, one, two)
                else:
                    self._end_copy(now, one, two)
            self._dispatch(now)
        return self._result()

    def _result(self) -> Run:
        completion = [INF if dropped else finish for dropped, finish in zip(self.dropped, self.finish_s, strict=True)]
        bounds = [*self.first, len(completion)]
        by_model = tuple(tuple(completion[a:b]) for a, b in pairwise(bounds))
        return Run(self.arrivals, by_model, tuple(self.busy_s), tuple(self.spans))

    def _push(self, time: float, kind: int, one: int, two: int) -> None:
        self.order += 1
        heappush(self.events, (time, kind, self.order, one, two))

    def _arrive(self, now: float, group: int, number: int) -> None:
        """Let a request of a group arrive; drop what it overtakes."""
        for model in self.instance.models_of_group[group]:
            frame = self.first[model] + number
            if self.drops_late and number > 0 and not self.begun[frame - 1]:
                self.dropped[frame - 1] = True
            graph = self.graph[frame]
            for copy in graph.copies_at_start:
                self._start_copy(now, frame, copy)
            for k, delay in graph.at_start:
                if delay > 0:
                    self._push(now + delay, INPUT, frame, k)
                else:
                    self._input(now, frame, k)

    def _input(self, now: float, frame: int, k: int) -> None:
        """Count one input of a slice as arrived; queue the slice when all are."""
        left = self.left[frame]
        left[k] -= 1
        if left[k] or self.dropped[frame]:
            return
        if self.binder is None:
            self._enqueue(now, frame, k)
            return
        delay = self.binder.bind(now, frame, self.model[frame], k)
        if delay > 0:
            self._push(now + delay, ENQUEUE, frame, k)
        else:
            self._enqueue(now, frame, k)

    def _enqueue(self, now: float, frame: int, k: int) -> None:
        """Put a slice into its unit's queue."""
        if self.dropped[frame]:
            if self.binder is not None:
                self.binder.forget(frame, k)
            return
        policy, arrival_s = self.schedule.policy, self.arrival_s[frame]
        if policy == "priority":
            key = float(self.rank[frame])
        elif policy == "fifo":
            key = now
        elif policy == "edf":
            key = self.due_s[frame]
        else:
            key = self.due_s[frame] - self.graph[frame].rest_s[k]
        unit = self.graph[frame].units[k] if self.binder is None else self.binder.unit(frame, k)
        heappush(self.ready[unit], (key, arrival_s, self.rank[frame], frame, k))
        self.changed.add(unit)

    def _dispatch(self, now: float) -> None:
        """Start copies, then slices, on whatever is free."""
        if self.has_copies:
            blocked = self._dispatch_copies(now)
            self.changed = set(range(len(self.ready))) - blocked
        for unit in sorted(self.changed) if len(self.changed) > 1 else self.changed:
            queue = self.ready[unit]
            if not queue or self.running[unit] is not None or self.copying[unit]:
                continue
            while queue:
                _, _, _, frame, k = heappop(queue)
                if not self.dropped[frame]:
                    self._start_slice(now, unit, frame, k)
                    break
                if self.binder is not None:
                    self.binder.forget(frame, k)
        self.changed.clear()
        if self.contention is not None:
            for end, unit, version in self.contention.new_ends(now):
                self._push(end, SLICE_END, unit, version)

    def _start_slice(self, now: float, unit: int, frame: int, k: int) -> None:
        graph = self.graph[frame]
        if self.binder is None:
            state, seconds = graph.states[k], graph.seconds[k]
        else:
            state, seconds = self.binder.started(frame, k, now)
        if self.stretch is not None:
            seconds *= _log_normal(self.stretch[frame, k], self.instance.unit_times[unit].spread)
        before = self.level[unit]
        if before >= 0 and before != state:
            seconds += self.switch_s[self.model[frame]][before][state]
        self.level[unit] = state
        self.begun[frame] = True
        self.running[unit] = Running(frame, k, now)
        if self.contention is None:
            self._push(now + seconds, SLICE_END, unit, 0)
        else:
            self.contention.start(unit, seconds, now)

    def _end_slice(self, now: float, unit: int, version: int) -> None:
        running = self.running[unit]
        if running is None or (self.contention is not None and not self.contention.ended(unit, version, now)):
            return
        frame, k, start_s = running
        self.running[unit] = None
        self.changed.add(unit)
        self.busy_s[unit] += now - start_s
        if self.traced:
            model = self.model[frame]
            self.spans.append(Span(model, frame - self.first[model], k, unit, start_s, now))
        graph = self.graph[frame]
        tail_s = graph.tail_s[k] if self.binder is None else self.binder.tail_s(frame, self.model[frame], k)
        self._finish_one(now + tail_s, frame)
        if graph.copies:
            for copy in graph.copies_after[k]:
                self._start_copy(now, frame, copy)
        for reader, delay in graph.after[k]:
            if delay > 0:
                self._push(now + delay, INPUT, frame, reader)
            else:
                self._input(now, frame, reader)

    def _finish_one(self, time: float, frame: int) -> None:
        """Count one of the ends that make a frame complete."""
        self.open_ends[frame] -= 1
        self.finish_s[frame] = max(self.finish_s[frame], time)

    def _start_copy(self, now: float, frame: int, copy: int) -> None:
        if self.graph[frame].copies[copy].units:
            self.waiting_copies.append((frame, copy))
        else:
            self._push(now + self.graph[frame].copies[copy].seconds, COPY_END, frame, copy)

    def _dispatch_copies(self, now: float) -> set[int]:
        """Start every copy whose units are free; the units that the others wait for."""
        blocked: set[int] = set()
        waiting = []
        for frame, number in self.waiting_copies:
            if self.dropped[frame]:
                continue
            copy = self.graph[frame].copies[number]
            if any(self.running[unit] or self.copying[unit] or unit in blocked for unit in copy.units):
                blocked.update(copy.units)
                waiting.append((frame, number))
                continue
            for unit in copy.units:
                self.copying[unit] = True
            self._push(now + copy.seconds, COPY_END, frame, number)
        self.waiting_copies = waiting
        return blocked

    def _end_copy(self, now: float, frame: int, number: int) -> None:
        copy = self.graph[frame].copies[number]
        for unit in copy.units:
            self.copying[unit] = False
        self._finish_one(now, frame)
        for hop in copy.hops:
            self._start_copy(now, frame, hop)
        for reader in copy.readers:
            self._input(now, frame, reader)


def _log_normal(draw: float, spread: float) -> float:
    """Return a factor of mean 1 and of this standard deviation, from a standard normal draw."""
    variance = math.log1p(spread * spread)
    return math.exp(draw * math.sqrt(variance) - variance / 2)
