"""The interval program along a topological order of any graph; transfers are paid for where they cross.

A **run** is what one device does without a break: one slice, or on a device that keeps its tensors several slices
side by side. A run pays for a tensor from outside where it first reads it, and brings to host what it made and others
need. So what a run will pay for depends on where it began relative to the places where the tensors still wanted were
made and last read. Runs that began between two such places are alike, and only the best of them is kept: one row of
an array per class, with all states side by side. Rows number the width of the graph, not its length.

The estimate is exact where nothing is on a device from an earlier run (so on chains); elsewhere it is an upper bound of
what the simulator says. States with a cap or measured slices keep every start that may still be best (``along_queue``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats, Ints
from mosaic_onnx.core.errors import NoPlanFoundError
from mosaic_onnx.planner.chain.graph_order_queue import Nodes, OpenTensors, Starts
from mosaic_onnx.planner.core.memory_windows import first_layers, single_layers
from mosaic_onnx.planner.core.objective_weights import Weighed
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal

INF = float("inf")


def best_along(
    table: CostTable, weighed: Weighed, order: Sequence[int], min_slice_count: int = 0
) -> tuple[float, Proposal]:
    """The best slices of consecutive layers along ``order`` that this program finds, and its estimate of their cost.

    Raises:
        NoPlanFoundError: no slices cover all layers.
    """
    alone = min_slice_count >= len(order)
    graph = _Graph(table, weighed, tuple(order), alone=alone)
    count = 1 if alone else max(1, min_slice_count)
    closings: list[tuple[Floats, Ints]] | None = None
    for number in range(count):
        closings = _Pass(graph, closings, again=number == count - 1).run()
    if not closings:
        return 0.0, ()
    costs, nodes = closings[-1]
    state = int(costs.argmin())
    if costs[state] == INF:
        raise NoPlanFoundError("no slices of consecutive layers along this order can run every layer within the caps")
    return float(costs[state]), graph.slices(int(nodes[state]))


class _Graph:
    """The data that every pass along the order needs."""

    def __init__(self, table: CostTable, weighed: Weighed, order: tuple[int, ...], *, alone: bool) -> None:
        """Look at the table along the order; ``alone``: every layer is a slice of its own."""
        rows = table.rows
        self.order, self.weighed = order, weighed
        self.state_count = len(table.state_names)
        place = {layer: at for at, layer in enumerate(order)}
        self.reads = [table.layer_inputs[layer] for layer in order]
        self.makes = [table.layer_outputs[layer] for layer in order]
        self.maker = [place[layer] if layer >= 0 else -1 for layer in rows.producer]
        self.last = [max([place[layer] for layer in readers], default=-1) for readers in table.consumers]
        self.is_output = rows.is_output
        self.layer = weighed.layer[list(order)]
        self.outputs = np.zeros_like(self.layer)
        """[L, S] to bring to host what a layer makes of the model's outputs"""
        for tensor in rows.output_tensors:
            if self.maker[tensor] >= 0:
                self.outputs[self.maker[tensor]] += weighed.to_host[tensor]
        self.per_slice = weighed.slice[table.state_device]
        self.windows = first_layers(table, order)
        if alone:
            self.windows = single_layers(self.windows, self.state_count, len(order))
        self.segments = self._segments(place)
        self.nodes = Nodes()
        self._split_states(table)

    def _split_states(self, table: CostTable) -> None:
        """Devices of which a state has a cap or a measured slice are queued; the others share the rows."""
        rows = table.rows
        limited = set(self.windows) | {state for state, _ in self.segments}
        devices = {rows.state_device[state] for state in limited}
        self.queued: list[list[int]] = []
        self.keeps: list[tuple[int, int]] = []
        self.keeping_devices: list[bool] = []
        for device in range(len(table.device_names)):
            first = rows.state_device.index(device)
            end = first + rows.state_device.count(device)
            keeping = rows.own_memory[device] and not rows.io_host[device]
            if device in devices:
                self.queued.append(list(range(first, end)))
                self.keeping_devices.append(keeping)
            elif keeping and end - first > 1:
                self.keeps.append((first, end))

    def _segments(self, place: dict[int, int]) -> dict[tuple[int, int], dict[int, float]]:
        """(state, last place) -> first place -> cost, of segments whose layers stand side by side in list order."""
        found: dict[tuple[int, int], dict[int, float]] = {}
        for (first, last, state), cost in self.weighed.segments.items():
            start, end = place[first], place[first] + last - first
            if self.order[start : end + 1] == tuple(range(first, last + 1)):
                found.setdefault((state, end), {})[start] = cost
        return found

    def slices(self, node: int) -> Proposal:
        """Return the slices that end with ``node``."""
        slices: list[PlacedSlice] = []
        end = len(self.order)
        while node >= 0:
            first, state, parent = self.nodes.find(node)
            slices.append(PlacedSlice(self.order[first:end], state))
            end, node = first, parent
        return tuple(reversed(slices))


class _Rows:
    """Classes of runs over the states that are not queued.

    Row c holds the best run that began after ``bounds[c - 1]`` and not after ``bounds[c]``.
    """

    def __init__(self, state_count: int) -> None:
        self.room = np.empty((2, 8, state_count)), np.empty((8, state_count), dtype=np.int64)
        self.count = 0
        self.bounds: list[int] = []

    @property
    def cost(self) -> Floats:
        """Return [C, S] so far, without what is still to be brought to host."""
        return self.room[0][0, : self.count]

    @property
    def out(self) -> Floats:
        """Return [C, S] to bring to host what the run made and others may still want, if it ended now."""
        return self.room[0][1, : self.count]

    @property
    def node(self) -> Ints:
        """Return [C, S] the last slice of the run."""
        return self.room[1][: self.count]

    def after(self, place: int) -> int:
        """Return the first row of runs that began after ``place``, which is a bound (or lies before all)."""
        return bisect_right(self.bounds, place)

    def append(self, place: int, cost: Floats, node: Ints) -> None:
        """A row of runs that begin at ``place``."""
        if self.count:
            self.bounds.append(place - 1)
        figures, nodes = self.room
        if self.count == len(nodes):
            self.room = np.concatenate([figures, figures], axis=1), np.concatenate([nodes, nodes])
            figures, nodes = self.room
        figures[0, self.count], figures[1, self.count], nodes[self.count] = cost, 0.0, node
        self.count += 1

    def merge(self, wanted: OpenTensors) -> None:
        """Unite neighbouring rows that no wanted tensor tells apart any more."""
        figures, nodes = self.room
        for c in range(len(self.bounds) - 1, -1, -1):
            if wanted.is_bound(self.bounds[c]):
                continue
            better = figures[:, c + 1].sum(axis=0) < figures[:, c].sum(axis=0)
            figures[:, c] = np.where(better, figures[:, c + 1], figures[:, c])
            nodes[c] = np.where(better, nodes[c + 1], nodes[c])
            figures[:, c + 1 : self.count - 1] = figures[:, c + 2 : self.count]
            nodes[c + 1 : self.count - 1] = nodes[c + 2 : self.count]
            self.count -= 1
            del self.bounds[c]


class _Pass:
    """One pass along the order; with a least number of slices there is one for each number of them."""

    def __init__(self, graph: _Graph, earlier: list[tuple[Floats, Ints]] | None, *, again: bool) -> None:
        """Begin a pass.

        Args:
            graph: the graph.
            earlier: the closings of the pass with one slice less; None where slices may begin at the first layer.
            again: whether a slice may follow another one of this same pass.
        """
        self.graph, self.earlier, self.again = graph, earlier, again
        count = graph.state_count
        self.rows = _Rows(count)
        self.wanted = OpenTensors(graph.weighed.to_host)
        self.devices = [[Starts(state, graph.windows.get(state)) for state in states] for states in graph.queued]
        self.starts = [starts for device in self.devices for starts in device]
        self.free = np.ones(count, dtype=np.bool_)
        self.free[[starts.state for starts in self.starts]] = False
        self.touched: dict[int, int] = {}

    def run(self) -> list[tuple[Floats, Ints]]:
        """[L] for each state, the least cost up to each place with the last slice ended there, and that slice."""
        closings: list[tuple[Floats, Ints]] = []
        for j in range(len(self.graph.order)):
            if self.again and j > 0:
                self._cut_within_runs(j)
            self._enter(j, closings)
            self._read(j)
            self._execute(j)
            closings.append(self._close(j))
        return closings

    def _enter(self, j: int, closings: list[tuple[Floats, Ints]]) -> None:
        """Begin a run at ``j`` in every state, after the cheapest slice that ended before it."""
        graph = self.graph
        best, parent = (0.0, -1) if j == 0 and self.earlier is None else (INF, -1)
        sources = [self.earlier] if self.earlier is not None else []
        for source in [*sources, closings] if self.again else sources:
            if j > 0:
                costs, nodes = source[j - 1]
                state = int(costs.argmin())
                if costs[state] < best:
                    best, parent = float(costs[state]), int(nodes[state])
        base = graph.nodes.add(j, range(graph.state_count), [parent] * graph.state_count)
        cost = best + graph.per_slice
        self.rows.append(j, np.where(self.free, cost, INF), np.arange(base, base + graph.state_count))
        for starts in self.starts:
            starts.push(j, j, float(cost[starts.state]), 0.0, base + starts.state)

    def _cut_within_runs(self, j: int) -> None:
        """Begin a slice at ``j`` without a break in the run: another level, or a new slice for a cap."""
        graph, rows = self.graph, self.rows
        for first, end in graph.keeps:
            part = rows.cost[:, first:end]
            source = part.argmin(axis=1)
            cost = part[np.arange(len(part)), source][:, None] + graph.per_slice[first:end]
            better = cost < part
            if better.any():
                row, column = better.nonzero()
                parents = rows.node[row, first + source[row]].tolist()
                base = graph.nodes.add(j, (first + column).tolist(), parents)
                part[better] = cost[better]
                rows.node[row, first + column] = np.arange(base, base + len(row))
        for device, keeping in zip(self.devices, graph.keeping_devices, strict=True):
            if keeping:
                self._cut_queued(j, device)

    def _cut_queued(self, j: int, device: list[Starts]) -> None:
        """As ``_cut_within_runs``, from the cheapest slices of a queued device into all of its states."""
        found = {candidate for starts in device for candidate in starts.cheapest()}
        picked = {min(found, key=lambda one: one.cost), min(found, key=lambda one: one.cost + one.out)} if found else ()
        for one in sorted(picked):
            base = self.graph.nodes.add(j, [starts.state for starts in device], [one.node] * len(device))
            for number, starts in enumerate(device):
                cost = one.cost + float(self.graph.per_slice[starts.state])
                starts.push(j, one.run, cost, self.wanted.out(one.run, starts.state), base + number)

    def _read(self, j: int) -> None:
        """Runs that have not had a tensor yet pay for it to come."""
        for tensor in self.graph.reads[j]:
            touched = self.touched.get(tensor, -1)
            cost = self.graph.weighed.from_host[tensor]
            self.rows.cost[self.rows.after(touched) :] += cost
            for starts in self.starts:
                starts.charge_after(touched, float(cost[starts.state]))

    def _execute(self, j: int) -> None:
        """Run layer ``j``; what it makes may have to leave, what it read last need not any more."""
        graph, rows = self.graph, self.rows
        so_far, owed = rows.cost, rows.out
        so_far += graph.layer[j] + graph.outputs[j]
        for starts in self.starts:
            starts.execute(j, float(graph.layer[j, starts.state]), float(graph.outputs[j, starts.state]))
        for tensor in graph.makes[j]:
            if graph.last[tensor] > j and not graph.is_output[tensor]:
                cost = graph.weighed.to_host[tensor]
                owed += cost
                self.wanted.open(tensor, j)
                for starts in self.starts:
                    starts.owe_until(j, float(cost[starts.state]))
        for tensor in graph.reads[j]:
            if graph.last[tensor] == j and self.wanted.is_open(tensor):
                maker, cost = graph.maker[tensor], graph.weighed.to_host[tensor]
                owed[: rows.after(maker)] -= cost
                self.wanted.close(tensor)
                for starts in self.starts:
                    starts.owe_until(maker, -float(cost[starts.state]))
        self._touch(j)
        rows.merge(self.wanted)

    def _touch(self, j: int) -> None:
        """Runs that began by ``j`` have had the tensors that layer ``j`` reads and makes."""
        graph = self.graph
        for tensor in (*graph.reads[j], *graph.makes[j]):
            before = self.touched.pop(tensor, None)
            if before is not None:
                self.wanted.unmark(before)
            if graph.last[tensor] > j:
                self.touched[tensor] = j
                self.wanted.mark(j)

    def _close(self, j: int) -> tuple[Floats, Ints]:
        """Return [S] least cost with a slice ended at ``j``, and that slice."""
        total = self.rows.cost + self.rows.out
        row = total.argmin(axis=0)
        columns = np.arange(len(row))
        costs, nodes = total[row, columns], self.rows.node[row, columns]
        for starts in self.starts:
            segments = self.graph.segments.get((starts.state, j), {})
            costs[starts.state], nodes[starts.state] = starts.close(segments, float(self.graph.per_slice[starts.state]))
        return costs, nodes
