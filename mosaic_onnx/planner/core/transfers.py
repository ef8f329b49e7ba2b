"""The transfers that a proposal pays for: the same ones whatever the schedule.

A tensor lives where it was made. ``io: resident`` devices keep what they have once had; ``io: host`` devices keep
nothing between slices; devices without own memory see host's. Between two resident devices a tensor goes directly
where that is no dearer than by way of host (``CostTable.direct_s``). See ``simulate`` for when copies happen.
"""

from __future__ import annotations

from typing import NamedTuple

from mosaic_onnx.core.cost_tables.costs import CostTable, TableRows
from mosaic_onnx.planner.core.request import Proposal

HOST_MEMORY = -1
"""As a place: host. Other places are device indices."""


class PaidTransfer(NamedTuple):
    """One copy that a proposal pays for.

    Attributes:
        tensor: which tensor.
        source: device index or ``HOST_MEMORY``.
        destination: device index or ``HOST_MEMORY``.
        seconds: what it takes.
        joules: what it draws.
        maker: slice whose end makes the tensor; -1 for an input of the model, there from the start.
        hop: index of the movement that must come first (the way to host), -1 for none.
        slice: the slice before which a sequential run does it; the number of slices for "at the end"; for what an
            ``io: host`` slice sends out, ``maker`` itself: right after it.
    """

    tensor: int
    source: int
    destination: int
    seconds: float
    joules: float
    maker: int
    hop: int
    slice: int


class PaidTransfers(NamedTuple):
    """All copies of a proposal, in the order in which a sequential run does them, and what each slice waits for."""

    copies: list[PaidTransfer]
    waits: list[list[int]]
    """[slice] copies that must have arrived before it starts."""
    after: list[set[int]]
    """[slice] slices that must have ended before it starts, since it reads what they left where it is."""
    last: list[int]
    """Copies that bring the model's outputs to host."""


class _Mover:
    """Collects the copies of one proposal, slice after slice."""

    def __init__(self, table: CostTable, rows: TableRows, proposal: Proposal, slice_of: list[int]) -> None:
        self.rows, self.proposal, self.slice_of = rows, proposal, slice_of
        self.layer_inputs, self.layer_outputs, self.consumers = (
            table.layer_inputs,
            table.layer_outputs,
            table.consumers,
        )
        self.table = table
        self.at_host: dict[int, int] = {}
        """tensor -> the copy that brought it to host"""
        self.on_device: dict[tuple[int, int], int] = {}
        """(tensor, device) -> the copy that brought it there"""
        self.copies: list[PaidTransfer] = []

    def bring(self, k: int, tensor: int, waits: list[int], after: set[int]) -> None:
        """Make an external tensor of slice ``k`` readable there."""
        rows, layer = self.rows, self.rows.producer[tensor]
        maker = -1 if layer < 0 else self.slice_of[layer]
        state = self.proposal[k].state
        device = rows.state_device[state]
        own, keeps = rows.own_memory[device], not rows.io_host[device]
        if not own:
            copy = self.to_host(tensor, maker, k)
            if copy >= 0:
                waits.append(copy)
            elif maker >= 0:
                after.add(maker)
            return
        if keeps:
            known = self.on_device.get((tensor, device))
            if known is not None:
                waits.append(known)
                return
            if maker >= 0:
                source_state = self.proposal[maker].state
                if rows.state_device[source_state] == device:
                    after.add(maker)
                    return
                seconds = self.table.straight_s(tensor, source_state, state) if self.table.direct_s else None
                if seconds is not None:
                    waits.append(self._direct(k, tensor, maker, source_state, state))
                    return
        copy = self._from_host(k, tensor, maker, state)
        if keeps:
            self.on_device[tensor, device] = copy
        waits.append(copy)

    def _from_host(self, k: int, tensor: int, maker: int, state: int) -> int:
        """Return the copy of a tensor from host to the state of slice ``k``, after the one to host."""
        rows = self.rows
        hop = self.to_host(tensor, maker, k)
        costs = rows.from_host_s[tensor][state], rows.from_host_j[tensor][state]
        return self._add(PaidTransfer(tensor, HOST_MEMORY, rows.state_device[state], *costs, maker, hop, k))

    def to_host(self, tensor: int, maker: int, k: int) -> int:
        """Return the copy that brings a tensor to host; -1 where host has it by itself."""
        if maker < 0:
            return -1
        rows, state = self.rows, self.proposal[maker].state
        device = rows.state_device[state]
        if not rows.own_memory[device]:
            return -1
        known = self.at_host.get(tensor)
        if known is None:
            seconds, joules = rows.to_host_s[tensor][state], rows.to_host_j[tensor][state]
            known = self._add(PaidTransfer(tensor, device, HOST_MEMORY, seconds, joules, maker, -1, k))
            self.at_host[tensor] = known
        return known

    def send_out(self, k: int, layers: tuple[int, ...]) -> None:
        """An ``io: host`` slice copies out what anything outside it needs."""
        for layer in layers:
            for tensor in self.layer_outputs[layer]:
                if self.rows.is_output[tensor] or any(self.slice_of[c] != k for c in self.consumers[tensor]):
                    self.to_host(tensor, k, k)

    def _direct(self, k: int, tensor: int, maker: int, source_state: int, state: int) -> int:
        devices = self.rows.state_device[source_state], self.rows.state_device[state]
        seconds = float(self.table.direct_s[source_state, state][tensor])
        joules = float(self.table.direct_j[source_state, state][tensor])
        copy = self._add(PaidTransfer(tensor, *devices, seconds, joules, maker, -1, k))
        self.on_device[tensor, devices[1]] = copy
        return copy

    def _add(self, movement: PaidTransfer) -> int:
        self.copies.append(movement)
        return len(self.copies) - 1


def paid_transfers(table: CostTable, proposal: Proposal, slice_of: list[int]) -> PaidTransfers:
    """Return the copies of a proposal whose slices stand in a topological order.

    Args:
        table: the costs.
        proposal: the slices.
        slice_of: [L] the slice that holds each layer.
    """
    rows = table.rows
    mover = _Mover(table, rows, proposal, slice_of)
    waits: list[list[int]] = []
    after: list[set[int]] = []
    for k, (layers, state) in enumerate(proposal):
        waits.append([])
        after.append(set())
        seen: set[int] = set()
        for layer in layers:
            for tensor in table.layer_inputs[layer]:
                if tensor not in seen:
                    seen.add(tensor)
                    maker = rows.producer[tensor]
                    if maker < 0 or slice_of[maker] != k:
                        mover.bring(k, tensor, waits[k], after[k])
        device = rows.state_device[state]
        if rows.io_host[device] and rows.own_memory[device]:
            mover.send_out(k, layers)
    last = []
    for tensor in rows.output_tensors:
        layer = rows.producer[tensor]
        if layer >= 0:
            copy = mover.to_host(tensor, slice_of[layer], len(proposal))
            if copy >= 0:
                last.append(copy)
    return PaidTransfers(mover.copies, waits, after, last)
