"""List scheduling: tasks by priority, each where it ends first (HEFT), or where the rest looks best too (PEFT).

HEFT: Topcuoglu, Hariri, Wu, IEEE TPDS 13(3), 2002. PEFT: Arabnejad, Barbosa, IEEE TPDS 25(3), 2014. Here a copy belongs
to a tensor and is paid once per device, as the simulator has it; contention for copies is left to the simulator.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.planner.concurrent.tasks import INF, Tasks
from mosaic_onnx.planner.core.deadline import EVERY, FOREVER, check_time, timed
from mosaic_onnx.planner.core.lower_bounds import scratch_alone
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal


@dataclass(frozen=True, eq=False)
class Schedule:
    """The result of list scheduling.

    Attributes:
        seconds: the makespan as it was reckoned; inf where some task found no device.
        state: [N] state of each task.
        start: [N] seconds.
        end: [N] seconds.
        cause: [N] the task because of which it starts no earlier; -1 for none.
        turn: [N] when the task was taken from the list.
    """

    seconds: float
    state: list[int]
    start: list[float]
    end: list[float]
    cause: list[int]
    turn: list[int]

    def proposal(self, tasks: Tasks) -> Proposal:
        """Return the tasks as slices in start order."""
        order = sorted(range(len(self.start)), key=lambda task: (self.start[task], self.turn[task]))
        return tuple(PlacedSlice(tasks.layers[task], self.state[task]) for task in order)


class Lister:
    """List scheduling of one set of tasks."""

    def __init__(self, table: CostTable, tasks: Tasks, until: float = FOREVER) -> None:
        """Prepare for a table and its tasks; after ``until``, all methods raise ``TimeUpError``."""
        self.table, self.tasks, self.until = table, tasks, until
        self.rows = table.rows
        self.switching = bool(table.switch_s.any())
        self.capped = [cap < INF for cap in self.rows.memory_bytes]
        self.scratch = scratch_alone(table).tolist() if any(self.capped) else []

    def schedule(
        self, priority: Sequence[float], fixed: Sequence[int] | None = None, outlook: Floats | None = None
    ) -> Schedule:
        """Take ready tasks, the highest priority first.

        Args:
            priority: [N]
            fixed: [N] the state of each task; None leaves the choice.
            outlook: [N, S] what is added to a task's end to compare states; None compares ends alone.
        """
        return _Pass(self, priority, fixed, outlook).go()

    def heft_priority(self) -> list[float]:
        """Return [N] the longest way to the end, at mean times."""
        return self._upward(self._mean_seconds())

    def fastest_priority(self) -> list[float]:
        """Return [N] the longest way to the end, each task in its fastest state."""
        return self._upward([min((row[s] for s in states), default=0.0) for row, states in self._rows_and_states()])

    def peft_outlook(self) -> Floats:
        """[N, S] the optimistic cost table: the longest way to the end after the task, each task where it is best."""
        count, state_count = len(self.tasks.layers), len(self.rows.state_device)
        seconds = np.array(self.tasks.seconds).reshape(count, state_count)
        outlook = np.zeros((count, state_count))
        for task in timed(range(count - 1, -1, -1), self.until):
            for reader in self.tasks.after[task]:
                ahead = (outlook[reader] + seconds[reader])[None, :] + self._ways(task, reader)
                outlook[task] = np.maximum(outlook[task], ahead.min(axis=1))
        return outlook

    def _rows_and_states(self) -> list[tuple[list[float], list[int]]]:
        return list(zip(self.tasks.seconds, self.tasks.states, strict=True))

    def _mean_seconds(self) -> list[float]:
        return [sum(row[s] for s in states) / max(len(states), 1) for row, states in self._rows_and_states()]

    def _upward(self, seconds: Sequence[float]) -> list[float]:
        """Return [N] its seconds and the longest way after it, half of the mean copies counted."""
        rank = [0.0] * len(self.tasks.layers)
        for task in timed(range(len(rank) - 1, -1, -1), self.until):
            ahead = 0.0
            for reader in self.tasks.after[task]:
                ahead = max(ahead, rank[reader] + self._mean_way(task, reader))
            rank[task] = seconds[task] + ahead
        return rank

    def _between(self, task: int, reader: int) -> list[int]:
        return [tensor for tensor in self.tasks.reads[reader] if self.tasks.maker[tensor] == task]

    def _mean_way(self, task: int, reader: int) -> float:
        """Return what the copies between two tasks take at the mean over pairs of their fastest states."""
        pairs = [(a, b) for a in self.tasks.states[task] for b in self.tasks.states[reader]]
        if not pairs:
            return 0.0
        total = 0.0
        for tensor in self._between(task, reader):
            total = max(total, sum(self._way(tensor, a, b) for a, b in pairs) / len(pairs))
        return total

    def _ways(self, task: int, reader: int) -> Floats:
        """[S, S] what the slowest of the copies between two tasks takes; inf for states that cannot run the reader."""
        count = len(self.rows.state_device)
        ways = np.full((count, count), np.inf)
        tensors = self._between(task, reader)
        for a in range(count):
            for b in self.tasks.states[reader]:
                ways[a, b] = max(self._way(tensor, a, b) for tensor in tensors)
        return ways

    def _way(self, tensor: int, a: int, b: int) -> float:
        """Return seconds to bring a tensor from state ``a`` to state ``b``."""
        rows = self.rows
        source, target = rows.state_device[a], rows.state_device[b]
        if source == target:
            return 0.0
        direct = self.table.straight_s(tensor, a, b)
        if direct is not None:
            return direct
        return rows.to_host_s[tensor][a] + rows.from_host_s[tensor][b]


def _never_straight(tensor: int, source: int, destination: int) -> float | None:
    """Return None: no tensor goes directly."""
    return None


class _Pass:
    """One pass of list scheduling."""

    def __init__(
        self, lister: Lister, priority: Sequence[float], fixed: Sequence[int] | None, outlook: Floats | None
    ) -> None:
        self.lister, self.tasks, self.rows = lister, lister.tasks, lister.rows
        self.straight_s = lister.table.straight_s if lister.table.direct_s else _never_straight
        self.priority, self.fixed = priority, fixed
        self.outlook = None if outlook is None else outlook.tolist()
        count, devices = len(self.tasks.layers), len(self.rows.memory_bytes)
        self.state, self.start, self.end = [-1] * count, [0.0] * count, [0.0] * count
        self.cause, self.turn = [-1] * count, [0] * count
        self.at_host: dict[int, float] = {}
        self.there: dict[tuple[int, int], float] = {}
        self.busy: list[list[tuple[float, float, int]]] = [[] for _ in range(devices)]
        """[D] (start, end, task), sorted"""
        self.last_state = [-1] * devices
        self.weights = [0] * devices
        self.scratch = [0] * devices
        self.group_device: dict[int, int] = {}

    def go(self) -> Schedule:
        """Run the list down."""
        tasks = self.tasks
        waiting = [len(before) for before in tasks.before]
        ready = [(-self.priority[task], task) for task, count in enumerate(waiting) if count == 0]
        heapq.heapify(ready)
        turn = 0
        while ready:
            if not turn % EVERY:
                check_time(self.lister.until)
            task = heapq.heappop(ready)[1]
            if not self._place(task):
                return Schedule(INF, self.state, self.start, self.end, self.cause, self.turn)
            self.turn[task] = turn
            turn += 1
            for reader in tasks.after[task]:
                waiting[reader] -= 1
                if waiting[reader] == 0:
                    heapq.heappush(ready, (-self.priority[reader], reader))
        return Schedule(self._makespan(), self.state, self.start, self.end, self.cause, self.turn)

    def _place(self, task: int) -> bool:
        """Choose state and time of one task; whether there is one."""
        best = (INF, INF)
        choice: tuple[int, float, int] | None = None
        for state in self.tasks.states[task] if self.fixed is None else (self.fixed[task],):
            seconds = self.tasks.seconds[task][state]
            device = self.rows.state_device[state]
            if seconds == INF or not self._allowed(task, device, state):
                continue
            arrived, cause = self._arrival(task, state, device)
            start, before = self._slot(device, state, arrived, seconds)
            end = start + seconds
            figure = end if self.outlook is None else end + self.outlook[task][state]
            if (figure, end) < best:
                best, choice = (figure, end), (state, start, before if start > arrived else cause)
        if choice is None:
            return False
        self._settle(task, *choice)
        return True

    def _allowed(self, task: int, device: int, state: int) -> bool:
        """Groups and device memory allow it."""
        for layer in self.tasks.layers[task]:
            group = self.rows.group[layer]
            if group >= 0 and self.group_device.get(group, device) != device:
                return False
        if not self.lister.capped[device]:
            return True
        weights, scratch = self._memory(task, state)
        total = self.weights[device] + weights + max(self.scratch[device], scratch)
        return total <= self.rows.memory_bytes[device]

    def _memory(self, task: int, state: int) -> tuple[int, int]:
        """Bytes of parameters, and of the rest at most: what each layer needs alone, summed where there are several."""
        layers = self.tasks.layers[task]
        weights = sum(self.rows.parameter_bytes[layer][state] for layer in layers)
        return weights, sum(self.lister.scratch[layer][state] for layer in layers)

    def _arrival(self, task: int, state: int, device: int) -> tuple[float, int]:
        """Return when the last input is there, and whose it is."""
        latest, cause = 0.0, -1
        for tensor in self.tasks.reads[task]:
            time = self._tensor_at(tensor, state, device)
            if time > latest:
                latest, cause = time, self.tasks.maker[tensor]
        return latest, cause

    def _tensor_at(self, tensor: int, state: int, device: int) -> float:
        rows, maker = self.rows, self.tasks.maker[tensor]
        if not rows.own_memory[device]:
            return self._host_time(tensor, maker)
        if not rows.io_host[device]:
            known = self.there.get((tensor, device))
            if known is not None:
                return known
            if maker >= 0:
                source = self.state[maker]
                if rows.state_device[source] == device:
                    return self.end[maker]
                direct = self.straight_s(tensor, source, state)
                if direct is not None:
                    return self.end[maker] + direct
        return self._host_time(tensor, maker) + rows.from_host_s[tensor][state]

    def _host_time(self, tensor: int, maker: int) -> float:
        """Return when host has the tensor."""
        if maker < 0:
            return 0.0
        known = self.at_host.get(tensor)
        if known is None:
            known = self.at_host[tensor] = self.end[maker] + self.rows.to_host_s[tensor][self.state[maker]]
        return known

    def _slot(self, device: int, state: int, arrived: float, seconds: float) -> tuple[float, int]:
        """Return the earliest time at which the device is free for so long, and the task that it waits for."""
        busy = self.busy[device]
        if not busy:
            return arrived, -1
        if self.lister.switching:
            free, last = busy[-1][1], busy[-1][2]
            return max(arrived, free + self.rows.switch_s[self.last_state[device]][state]), last
        if arrived >= busy[-1][1]:
            return arrived, -1
        place = bisect_right(busy, (arrived, INF, 0))
        start, before = arrived, -1
        if place and busy[place - 1][1] > arrived:
            start, before = busy[place - 1][1], busy[place - 1][2]
        for number in range(place, len(busy)):
            if busy[number][0] >= start + seconds:
                return start, before
            if busy[number][1] > start:
                start, before = busy[number][1], busy[number][2]
        return start, before

    def _settle(self, task: int, state: int, start: float, cause: int) -> None:
        """Write the decision down."""
        device, end = self.rows.state_device[state], start + self.tasks.seconds[task][state]
        if self.rows.own_memory[device] and not self.rows.io_host[device]:
            for tensor in self.tasks.reads[task]:
                self.there[tensor, device] = self._tensor_at(tensor, state, device)
        self.state[task], self.start[task], self.end[task], self.cause[task] = state, start, end, cause
        busy = self.busy[device]
        busy.insert(bisect_right(busy, (start, end, task)), (start, end, task))
        self.last_state[device] = state
        if self.lister.capped[device]:
            weights, scratch = self._memory(task, state)
            self.weights[device] += weights
            self.scratch[device] = max(self.scratch[device], scratch)
        for layer in self.tasks.layers[task]:
            if self.rows.group[layer] >= 0:
                self.group_device[self.rows.group[layer]] = device

    def _makespan(self) -> float:
        """Return the last end, or the last output's arrival at host."""
        latest = max(self.end, default=0.0)
        for task, tensors in enumerate(self.tasks.makes):
            for tensor in tensors:
                if self.rows.is_output[tensor]:
                    latest = max(latest, self.end[task] + self.rows.to_host_s[tensor][self.state[task]])
        return latest
