"""Merge slices: neighbours of one state; of a concurrent plan where nothing starts later for it, or where it gains."""

from __future__ import annotations

from collections.abc import Callable

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.request import TOLERANCE, PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.simulate import Timeline, simulate
from mosaic_onnx.planner.core.transfers import PaidTransfers, paid_transfers
from mosaic_onnx.planner.search.simulated_search import rank_of

INF = float("inf")


def neighbours_joined(proposal: Proposal, may_join: Callable[[PlacedSlice], bool] = lambda _: True) -> Proposal:
    """Return the proposal with slices of one state that follow one another made one, where the result may be."""
    slices: list[PlacedSlice] = []
    for placed in proposal:
        grown = PlacedSlice((*slices[-1].layers, *placed.layers), placed.state) if slices else placed
        if slices and slices[-1].state == placed.state and may_join(grown):
            slices[-1] = grown
        else:
            slices.append(placed)
    return tuple(slices)


def merge_harmless(table: CostTable, request: Request, proposal: Proposal) -> Proposal:
    """Join slices that follow one another on a device in one state, where no slice waits longer for it.

    If the objective suffers nevertheless, or the result cannot run, the proposal comes back as it was.
    """
    timeline = simulate(table, proposal, request.schedule)
    merged = _Joiner(table, proposal, timeline).joined()
    if len(merged) == len(proposal):
        return proposal
    rank = rank_of(request)
    try:
        after = simulate(table, merged, request.schedule)
    except InfeasibleError:
        return proposal
    return merged if rank(after) <= rank(timeline) * (1 + TOLERANCE) else proposal


class _Joiner:
    """Finds joins after which every other slice still starts when it did, given the joins made before."""

    def __init__(self, table: CostTable, proposal: Proposal, timeline: Timeline) -> None:
        self.table, self.proposal, self.timeline = table, proposal, timeline
        slice_of = [-1] * len(table.layer_names)
        for k, placed in enumerate(proposal):
            for layer in placed.layers:
                slice_of[layer] = k
        self.begin = [start for start, _ in timeline.slice_times]
        """[slice] when the group that it is in starts"""
        self.end = [end for _, end in timeline.slice_times]
        """[slice] when the group that it is in ends"""
        self.reads: list[list[tuple[int, float]]] = [[] for _ in proposal]
        """[slice] (slice that makes an input, or -1; seconds that the way takes)"""
        self.readers: list[list[tuple[int, float]]] = [[] for _ in proposal]
        """[slice] (slice that reads what it makes, or -1 for the end of the plan; seconds that the way takes)"""
        self._connect(paid_transfers(table, proposal, slice_of))
        self.tolerance = 1e-12 * timeline.seconds

    def joined(self) -> Proposal:
        """Return the proposal with all such joins made."""
        groups: list[list[int]] = []
        open_group: dict[int, list[int]] = {}
        for k, placed in enumerate(self.proposal):
            device = self.table.rows.state_device[placed.state]
            group = open_group.get(device)
            if group is not None and self.proposal[group[0]].state == placed.state and self._may_join(group, k):
                self.begin[k] = self.begin[group[0]]
                for member in group:
                    self.end[member] = self.end[k]
                group.append(k)
            else:
                group = [k]
                groups.append(group)
                open_group[device] = group
        groups.sort(key=lambda group: (self.begin[group[0]], group[0]))
        return tuple(
            PlacedSlice(tuple(layer for k in group for layer in self.proposal[k].layers), self.proposal[group[0]].state)
            for group in groups
        )

    def _may_join(self, group: list[int], k: int) -> bool:
        """The slice's inputs are there when the group starts, and nobody else waits for the group before it ends."""
        begin, end = self.begin[group[0]] + self.tolerance, self.end[k] - self.tolerance
        inside = {*group, k}
        for maker, way in self.reads[k]:
            if maker not in inside and (self.end[maker] if maker >= 0 else 0.0) + way > begin:
                return False
        for member in group:
            for reader, way in self.readers[member]:
                start = self.begin[reader] if reader >= 0 else self.timeline.seconds
                if reader not in inside and end + way > start:
                    return False
        return True

    def _connect(self, moved: PaidTransfers) -> None:
        """Note which slices read from which, and how long the transfers take."""
        for k in range(len(self.proposal)):
            for maker in moved.after[k]:
                self._add(maker, k, 0.0)
            for copy in moved.waits[k]:
                self._add(moved.copies[copy].maker, k, self._way(moved, copy))
        for copy in moved.last:
            self._add(moved.copies[copy].maker, -1, self._way(moved, copy))

    def _add(self, maker: int, reader: int, way: float) -> None:
        if maker >= 0:
            self.readers[maker].append((reader, way))
        if reader >= 0:
            self.reads[reader].append((maker, way))

    def _way(self, moved: PaidTransfers, copy: int) -> float:
        """Return seconds of a copy and of the one that must come first."""
        movement = moved.copies[copy]
        return movement.seconds + (moved.copies[movement.hop].seconds if movement.hop >= 0 else 0.0)
