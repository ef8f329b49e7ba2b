"""Merge slices of a concurrent plan: first where nothing starts later for it, then where the objective gains."""

from __future__ import annotations

import time
from collections.abc import Iterator

from mosaic_onnx.costs import CostTable
from mosaic_onnx.errors import InfeasibleError
from mosaic_onnx.planner.movements import Movements, movements
from mosaic_onnx.planner.polish import rank_of
from mosaic_onnx.planner.request import TOLERANCE, Placed, Proposal, Request
from mosaic_onnx.planner.simulate import Timeline, simulate

INF = float("inf")


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


def merge_for_gain(table: CostTable, request: Request, proposal: Proposal, deadline: float) -> Proposal:
    """Join neighbours on a device, one pair after the other, wherever the objective gains; for slices that cost."""
    rank = rank_of(request)
    best = rank(simulate(table, proposal, request.schedule))
    improved = True
    while improved:
        improved = False
        for tried in _pairs_joined(table, proposal):
            if time.monotonic() > deadline:
                return proposal
            try:
                figure = rank(simulate(table, tried, request.schedule))
            except InfeasibleError:
                continue
            if figure < best * (1 - TOLERANCE):
                proposal, best, improved = tried, figure, True
                break
    return proposal


def _pairs_joined(table: CostTable, proposal: Proposal) -> Iterator[Proposal]:
    """The proposal with two slices joined that follow one another on their device in one state, at either's place."""
    last: dict[int, int] = {}
    for second, placed in enumerate(proposal):
        device = table.rows.state_device[placed.state]
        first = last.get(device)
        last[device] = second
        if first is not None and proposal[first].state == placed.state:
            joined = Placed(proposal[first].layers + placed.layers, placed.state)
            between = proposal[first + 1 : second]
            yield (*proposal[:first], *between, joined, *proposal[second + 1 :])
            if between:
                yield (*proposal[:first], joined, *between, *proposal[second + 1 :])


class _Joiner:
    """Finds the joins after which everything else still happens when it did; so none spoils another."""

    def __init__(self, table: CostTable, proposal: Proposal, timeline: Timeline) -> None:
        self.table, self.proposal, self.timeline = table, proposal, timeline
        slice_of = [-1] * len(table.layer_names)
        for k, placed in enumerate(proposal):
            for layer in placed.layers:
                slice_of[layer] = k
        self.moved: Movements = movements(table, proposal, slice_of)
        self.wanted = self._wanted()

    def joined(self) -> Proposal:
        """The proposal with all such joins made."""
        groups: list[list[int]] = []
        open_group: dict[int, list[int]] = {}
        times = self.timeline.slice_times
        for k, placed in enumerate(self.proposal):
            device = self.table.rows.state_device[placed.state]
            group = open_group.get(device)
            if group is not None and self.proposal[group[0]].state == placed.state and self._may_join(group, k):
                group.append(k)
            else:
                group = [k]
                groups.append(group)
                open_group[device] = group
        groups.sort(key=lambda group: (times[group[0]][0], group[0]))
        return tuple(
            Placed(tuple(layer for k in group for layer in self.proposal[k].layers), self.proposal[group[0]].state)
            for group in groups
        )

    def _may_join(self, group: list[int], k: int) -> bool:
        """The slice's inputs are there when the group starts, and nobody else waits for the group before it ends."""
        begin, end = self.timeline.slice_times[group[0]][0], self.timeline.slice_times[k][1]
        inside = {*group, k}
        for copy in self.moved.waits[k]:
            if self.moved.copies[copy].maker not in inside and self.timeline.copy_times[copy][1] > begin:
                return False
        if any(maker not in inside and self.timeline.slice_times[maker][1] > begin for maker in self.moved.after[k]):
            return False
        return all(time >= end for member in group for who, time in self.wanted[member] if who not in inside)

    def _wanted(self) -> list[list[tuple[int, float]]]:
        """[slice] (slice that waits or -1 for the end of the plan, when this slice must have ended for that)."""
        moved, timeline = self.moved, self.timeline
        wanted: list[list[tuple[int, float]]] = [[] for _ in self.proposal]
        for k, (start, _) in enumerate(timeline.slice_times):
            for maker in moved.after[k]:
                wanted[maker].append((k, start))
            for copy in moved.waits[k]:
                self._add(wanted, copy, k, start)
        for copy in moved.last:
            self._add(wanted, copy, -1, timeline.seconds)
        for maker in moved.outputs_in_place:
            wanted[maker].append((-1, timeline.seconds))
        return wanted

    def _add(self, wanted: list[list[tuple[int, float]]], copy: int, who: int, time: float) -> None:
        """Someone needs the copy at that time: so its maker must have ended before it and the hop before it."""
        movement = self.moved.copies[copy]
        time -= movement.seconds
        if movement.hop >= 0:
            time -= self.moved.copies[movement.hop].seconds
        if movement.maker >= 0:
            wanted[movement.maker].append((who, time))
