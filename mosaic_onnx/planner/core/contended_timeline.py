"""The concurrent timeline where devices slow each other: slices advance at paces that change while others work.

The rules of ``timeline`` hold, with one line for all that waits. A slice's seconds are those of undisturbed work; while
other devices run slices it works at 1 / (product of their factors), see ``contention``. Copies and switches are neither
slowed nor slow anything.
"""

from __future__ import annotations

from heapq import heappop, heappush

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.core.contention import Contention
from mosaic_onnx.planner.core.request import Proposal
from mosaic_onnx.planner.core.transfers import HOST_MEMORY, PaidTransfer, PaidTransfers

COPY, SLICE, TIMER = range(3)
"""Kinds of events."""
Spans = list[tuple[float, float]]


def held_by(table: CostTable, copy: PaidTransfer) -> tuple[int, ...]:
    """Return what a copy holds while it goes on: devices, where copies occupy them, and D + its link."""
    devices = tuple(place for place in (copy.source, copy.destination) if place != HOST_MEMORY)
    link = table.link_of.get((copy.source, copy.destination)) if table.link_names else None
    held = devices if table.copies_occupy_device else ()
    return held if link is None else (*held, len(table.device_names) + link)


def contended_times(
    table: CostTable, proposal: Proposal, moved: PaidTransfers, slice_s: list[float], switch_s: list[float]
) -> tuple[Spans, Spans]:
    """Return start and end of every slice and copy.

    Args:
        table: costs, with ``slowdown``.
        proposal: the slices.
        moved: its copies.
        slice_s: [slice] seconds of undisturbed execution.
        switch_s: [slice] seconds to switch its device's level before it.
    """
    return _Simulation(table, proposal, moved, slice_s, switch_s).run()


class _Simulation:
    """The line of what waits, the slices at work, and the times of ends."""

    def __init__(
        self, table: CostTable, proposal: Proposal, moved: PaidTransfers, slice_s: list[float], switch_s: list[float]
    ) -> None:
        self.table, self.moved, self.slice_s, self.switch_s = table, moved, slice_s, switch_s
        self.device = [table.rows.state_device[state] for _, state in proposal]
        self.held = [held_by(table, copy) for copy in moved.copies]
        self.slices: Spans = [(0.0, 0.0)] * len(proposal)
        self.copies: Spans = [(0.0, 0.0)] * len(moved.copies)
        self.contention = Contention(table.slowdown or ())
        self.busy: set[int] = set()
        """devices, and D + links, that are held"""
        self.free_since = [0.0] * len(table.device_names)
        self.line: list[tuple[float, int, int]] = []
        """(ready, kind, number) of what waits, in the order in which it is served"""
        self.events: list[tuple[float, int, int, int]] = []
        """(time, kind, number, version)"""
        self.running: dict[int, int] = {}
        """device -> the slice that it runs"""
        self.open = [len(waits) + len(after) for waits, after in zip(moved.waits, moved.after, strict=True)]
        self.ready_s = [0.0] * len(proposal)
        """[slice] when the last of its inputs arrived"""
        self.turn = self._first_slices()
        self.joined = [False] * len(proposal)

    def _first_slices(self) -> list[bool]:
        """Return the slices that are the first of their devices."""
        first = {device: k for k, device in reversed(list(enumerate(self.device)))}
        return [first[device] == k for k, device in enumerate(self.device)]

    def run(self) -> tuple[Spans, Spans]:
        """Go from event to event until nothing is left."""
        self._release(-1, 0.0)
        for k in range(len(self.device)):
            self._stand_in_line(k)
        self._start_all(0.0)
        while self.events:
            now, kind, number, version = heappop(self.events)
            self._handle(now, kind, number, version)
            while self.events and self.events[0][0] == now:
                self._handle(*heappop(self.events))
            self._start_all(now)
        return self.slices, self.copies

    def _handle(self, now: float, kind: int, number: int, version: int) -> None:
        if kind == COPY:
            self.busy.difference_update(self.held[number])
            self._free(self.held[number], now)
            self._arrived(now, copy=number)
        elif kind == SLICE and self.contention.ended(number, version, now):
            k = self.running.pop(number)
            self.slices[k] = self.slices[k][0], now
            self.busy.discard(number)
            self._free((number,), now)
            self._release(k, now)
            self._arrived(now, maker=k)

    def _free(self, places: tuple[int, ...], now: float) -> None:
        for place in places:
            if place < len(self.free_since):
                self.free_since[place] = now

    def _release(self, maker: int, now: float) -> None:
        """Let the copies of what a slice made (-1: of the model's inputs) stand in line."""
        for number, copy in enumerate(self.moved.copies):
            if copy.hop < 0 and copy.maker == maker:
                heappush(self.line, (now, COPY, number))

    def _arrived(self, now: float, *, copy: int = -1, maker: int = -1) -> None:
        """Count an arrival for the slices that wait for it, and let second hops stand in line."""
        if copy >= 0:
            for number, other in enumerate(self.moved.copies):
                if other.hop == copy:
                    heappush(self.line, (now, COPY, number))
        for k in range(len(self.device)):
            count = self.moved.waits[k].count(copy) if copy >= 0 else int(maker in self.moved.after[k])
            if count:
                self.open[k] -= count
                self.ready_s[k] = now
                self._stand_in_line(k)

    def _stand_in_line(self, k: int) -> None:
        """Let a slice wait whose inputs are there and whose forerunner on the device has started."""
        if self.open[k] == 0 and self.turn[k] and not self.joined[k]:
            self.joined[k] = True
            heappush(self.line, (self.ready_s[k], SLICE, k))

    def _start_all(self, now: float) -> None:
        """Start whatever can start, in the order of the line; who waits keeps others from what it needs."""
        started = True
        while started:
            started = False
            claimed: set[int] = set()
            for item in sorted(self.line):
                if self._start(item, now, claimed):
                    self.line.remove(item)
                    started = True
                    break
        for end, device, version in self.contention.new_ends(now):
            heappush(self.events, (end, SLICE, device, version))

    def _start(self, item: tuple[float, int, int], now: float, claimed: set[int]) -> bool:
        _, kind, number = item
        needs = set(self.held[number]) if kind == COPY else {self.device[number]}
        blocked = bool(needs & claimed or needs & self.busy)
        if kind == SLICE and not blocked:
            blocked = self._waits_for_switch(number, now) or self._excluded(number)
        if blocked:
            claimed |= needs
            return False
        self.busy |= needs
        if kind == COPY:
            end = now + self.moved.copies[number].seconds
            self.copies[number] = now, end
            heappush(self.events, (end, COPY, number, 0))
        else:
            self.slices[number] = now, now
            self.running[self.device[number]] = number
            self.contention.start(self.device[number], self.slice_s[number], now)
            self._next_turn(number)
        return True

    def _next_turn(self, k: int) -> None:
        following = next((j for j in range(k + 1, len(self.device)) if self.device[j] == self.device[k]), None)
        if following is not None:
            self.turn[following] = True
            self._stand_in_line(following)

    def _waits_for_switch(self, k: int, now: float) -> bool:
        """Return whether its device's level has not been switched yet; an event is set for when it has."""
        ready = self.free_since[self.device[k]] + self.switch_s[k]
        if ready <= now:
            return False
        heappush(self.events, (ready, TIMER, k, 0))
        return True

    def _excluded(self, k: int) -> bool:
        """Return whether a device that excludes this slice's one works."""
        others = self.table.exclusive[self.device[k]] if self.table.exclusive else ()
        return any(other in self.busy for other in others)
