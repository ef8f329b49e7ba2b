"""The concurrent timeline: start and end of everything where devices work side by side.

A device runs one slice at a time, in the proposal's order; devices that exclude each other (``CostTable.exclusive``)
take turns like one. A tensor is ready at the end of its slice; a copy starts
when its source is ready. A slice starts when its device is free and its level switched and all its inputs are there.

With ``copies_occupy_device`` copies and slices wait in one line for the devices that they need. A copy is ready when
its source is, a slice when its inputs have arrived (a slice stands in line only once its forerunner on the device has
been served). Who is ready first is served first, and nothing overtakes it on a device that it needs; where two are
ready at once, copies go before slices, and otherwise the proposal's order decides. A link between machines is held in
the same way by the copies that go over it. Where devices slow each other, see ``contended_timeline``.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.core.contended_timeline import contended_times, held_by
from mosaic_onnx.planner.core.request import Proposal
from mosaic_onnx.planner.core.transfers import PaidTransfer, PaidTransfers


class Times(NamedTuple):
    """Start and end of every slice and copy, and when all is done."""

    seconds: float
    slices: list[tuple[float, float]]
    copies: list[tuple[float, float]]


def concurrent_times(
    table: CostTable, proposal: Proposal, moved: PaidTransfers, slice_s: list[float], switch_s: list[float]
) -> Times:
    """Return start and end of every slice and copy of a proposal.

    Args:
        table: the costs.
        proposal: the slices.
        moved: its copies.
        slice_s: [slice] execution seconds.
        switch_s: [slice] seconds to switch its device's level before it.
    """
    if table.slowdown is not None and len(proposal) > 1:
        slices, copies = contended_times(table, proposal, moved, slice_s, switch_s)
    elif (table.copies_occupy_device or table.link_names) and moved.copies:
        slices, copies = _Line(table, proposal, moved, slice_s, switch_s).serve()
    else:
        slices, copies = _free_copies(table, proposal, moved, slice_s, switch_s)
    ends = [end for _, end in slices] + [copies[copy][1] for copy in moved.last]
    return Times(max(ends, default=0.0), slices, copies)


def _free_copies(
    table: CostTable, proposal: Proposal, moved: PaidTransfers, slice_s: list[float], switch_s: list[float]
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return copies never wait for one another: everything follows in the proposal's order."""
    state_device = table.rows.state_device
    device_free = [0.0] * len(table.device_names)
    slices: list[tuple[float, float]] = []
    copies: list[tuple[float, float]] = []
    for k, (_, state) in enumerate(proposal):
        number = len(copies)
        while number < len(moved.copies) and moved.copies[number].slice == k and moved.copies[number].maker != k:
            copies.append(_at_once(moved.copies[number], slices, copies))
            number += 1
        device = state_device[state]
        start = device_free[device] + switch_s[k]
        if table.exclusive:
            start = max(start, *(device_free[other] for other in table.exclusive[device]), 0.0)
        for copy in moved.waits[k]:
            start = max(start, copies[copy][1])
        for maker in moved.after[k]:
            start = max(start, slices[maker][1])
        slices.append((start, start + slice_s[k]))
        device_free[device] = slices[-1][1]
        while number < len(moved.copies) and moved.copies[number].slice == k:
            copies.append(_at_once(moved.copies[number], slices, copies))
            number += 1
    for movement in moved.copies[len(copies) :]:
        copies.append(_at_once(movement, slices, copies))
    return slices, copies


def _at_once(
    copy: PaidTransfer, slices: list[tuple[float, float]], copies: list[tuple[float, float]]
) -> tuple[float, float]:
    """Return start and end of a copy that starts as soon as its source is ready."""
    ready = copies[copy.hop][1] if copy.hop >= 0 else slices[copy.maker][1] if copy.maker >= 0 else 0.0
    return ready, ready + copy.seconds


class _Line:
    """The line in which copies and slices wait for devices and links."""

    def __init__(
        self, table: CostTable, proposal: Proposal, moved: PaidTransfers, slice_s: list[float], switch_s: list[float]
    ) -> None:
        self.moved, self.slice_s, self.switch_s = moved, slice_s, switch_s
        self.device = [table.rows.state_device[state] for _, state in proposal]
        self.free = [0.0] * (len(table.device_names) + len(table.link_names))
        """[D + links] when each device, then each link, is free"""
        self.held = [held_by(table, copy) for copy in moved.copies]
        self.exclusive = table.exclusive
        self.slices = [(0.0, 0.0)] * len(proposal)
        self.copies = [(0.0, 0.0)] * len(moved.copies)
        self.line: list[tuple[float, int, int]] = []
        """(ready, 0 for a copy and 1 for a slice, its number)"""
        self.open = [len(waits) + len(after) for waits, after in zip(moved.waits, moved.after, strict=True)]
        """[slice] inputs that have not arrived"""
        self.arrived = [0.0] * len(proposal)
        """[slice] when the last of its inputs arrived"""
        self.turn = [False] * len(proposal)
        """[slice] its forerunner on the device has been served"""
        self.after_copy: dict[int, list[int]] = {}
        self.after_slice: dict[int, list[int]] = {}
        self.hops: dict[int, list[int]] = {}
        self.made: dict[int, list[int]] = {}
        self.next_on_device: dict[int, int] = {}
        self._join()

    def _join(self) -> None:
        """Note which slices and transfers wait for one another."""
        for k, (waits, after) in enumerate(zip(self.moved.waits, self.moved.after, strict=True)):
            for copy in waits:
                self.after_copy.setdefault(copy, []).append(k)
            for maker in after:
                self.after_slice.setdefault(maker, []).append(k)
        for number, movement in enumerate(self.moved.copies):
            if movement.hop >= 0:
                self.hops.setdefault(movement.hop, []).append(number)
            else:
                self.made.setdefault(movement.maker, []).append(number)
        before: dict[int, int] = {}
        for k, device in enumerate(self.device):
            if device in before:
                self.next_on_device[before[device]] = k
            else:
                self.turn[k] = True
            before[device] = k

    def serve(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Serve everyone; start and end of slices and copies."""
        for number in self.made.get(-1, ()):
            heappush(self.line, (0.0, 0, number))
        for k, count in enumerate(self.open):
            if count == 0 and self.turn[k]:
                heappush(self.line, (0.0, 1, k))
        while self.line:
            ready, kind, number = heappop(self.line)
            if kind == 0:
                self._serve_copy(ready, number)
            else:
                self._serve_slice(ready, number)
        return self.slices, self.copies

    def _serve_copy(self, ready: float, number: int) -> None:
        copy = self.moved.copies[number]
        start = max([ready, *(self.free[place] for place in self.held[number])])
        end = start + copy.seconds
        for place in self.held[number]:
            self.free[place] = end
        self.copies[number] = start, end
        for hop in self.hops.get(number, ()):
            heappush(self.line, (end, 0, hop))
        for k in self.after_copy.get(number, ()):
            self._arrive(k, end)

    def _serve_slice(self, ready: float, k: int) -> None:
        device = self.device[k]
        start = max(ready, self.free[device] + self.switch_s[k])
        if self.exclusive:
            start = max(start, *(self.free[other] for other in self.exclusive[device]), 0.0)
        end = start + self.slice_s[k]
        self.free[device] = end
        self.slices[k] = start, end
        for number in self.made.get(k, ()):
            heappush(self.line, (end, 0, number))
        for reader in self.after_slice.get(k, ()):
            self._arrive(reader, end)
        following = self.next_on_device.get(k)
        if following is not None:
            self.turn[following] = True
            self._stand_in_line(following)

    def _arrive(self, k: int, time: float) -> None:
        """One input of slice ``k`` is there."""
        self.open[k] -= 1
        self.arrived[k] = max(self.arrived[k], time)
        self._stand_in_line(k)

    def _stand_in_line(self, k: int) -> None:
        if self.open[k] == 0 and self.turn[k]:
            heappush(self.line, (self.arrived[k], 1, k))
