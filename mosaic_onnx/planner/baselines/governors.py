"""Governors: the policies that pick a device's level while slices run (``docs/governors.md``).

``performance`` keeps every device at its highest level. ``on-demand`` is Linux's ``ondemand`` as far as one inference
sees it: a device that was idle stands at its lowest level; the governor samples the load every ``SAMPLING_S``; a
device that was busy for all of a period goes to its highest level, one that was idle for all of a period falls back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.baselines.arguments import highest_states, lowest_states
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal

SAMPLING_S = 0.010
"""Linux's usual ``sampling_rate``: 10 ms."""


def on_demand(table: CostTable, proposal: Proposal, sampling_s: float = SAMPLING_S) -> Proposal:
    """Return the same slices at the levels that the on-demand governor would give them, one after another.

    A slice on a device that shares host's memory is cut where its level rises (a cut there costs nothing). On a device
    with its own memory a cut would cost copies that the governor does not cause, so a slice has one level: the highest
    if it is longer than a period at the lowest level, else the lowest.

    Args:
        table: the costs.
        proposal: slices in the order in which they run; their own levels are not looked at.
        sampling_s: seconds between two looks of the governor.
    """
    governor = _Governor(table, sampling_s)
    slices: list[PlacedSlice] = []
    for placed in proposal:
        slices.extend(governor.run(placed))
    return tuple(slices)


@dataclass
class _Governor:
    """The clock and what each device last did."""

    table: CostTable
    sampling_s: float
    now_s: float = 0.0
    high_until: dict[int, float] = field(default_factory=dict)
    """Device -> when a device at its highest level was last busy."""

    def run(self, placed: PlacedSlice) -> list[PlacedSlice]:
        """Run one slice and pass its time."""
        device = self.table.rows.state_device[placed.state]
        low, high = lowest_states(self.table)[device], highest_states(self.table)[device]
        is_high = self.now_s - self.high_until.get(device, float("-inf")) <= self.sampling_s
        if is_high or low == high:
            pieces = [PlacedSlice(placed.layers, high)]
        elif self.table.rows.own_memory[device]:
            is_short = self._seconds(placed.layers, low) <= self.sampling_s
            pieces = [PlacedSlice(placed.layers, low if is_short else high)]
        else:
            pieces = self._risen(placed.layers, low, high)
        self.now_s += sum(self._seconds(piece.layers, piece.state) for piece in pieces)
        if pieces[-1].state == high:
            self.high_until[device] = self.now_s
        return pieces

    def _risen(self, layers: tuple[int, ...], low: int, high: int) -> list[PlacedSlice]:
        """Low until a period has passed, then high; a layer keeps the level at which it starts."""
        passed_s, rise = 0.0, 0
        while rise < len(layers) and passed_s < self.sampling_s:
            passed_s += self.table.rows.layer_s[layers[rise]][low]
            rise += 1
        cuts = [0, rise, len(layers)]
        return [
            PlacedSlice(layers[start:end], state)
            for (start, end), state in zip(pairwise(cuts), (low, high), strict=True)
            if start < end
        ]

    def _seconds(self, layers: tuple[int, ...], state: int) -> float:
        return sum(self.table.rows.layer_s[layer][state] for layer in layers)
