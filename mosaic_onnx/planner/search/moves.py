"""Moves: make a plan better by small changes, each judged exactly, until none helps.

Shift a boundary, change a slice's state, merge neighbours, split a slice off, move a layer to another slice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.objective import Rank
from mosaic_onnx.planner.core.orders import predecessors, successors
from mosaic_onnx.planner.core.request import TOLERANCE, PlacedSlice, Proposal
from mosaic_onnx.planner.search.incremental_cost import NEW, Change, Figures, IncrementalCost

TARGETS = 6
"""Slices on either side of its own that a layer is tried in, nearest first."""
SHIFTS = (1, 2, 4, 8, 16)
"""Layers that cross a boundary at once."""


def improve(
    table: CostTable, proposal: Proposal, rank: Rank, until: float, *, one_slice_per_device: bool = False
) -> Proposal:
    """Change the proposal for the better until no move helps or time is up.

    Args:
        table: costs.
        proposal: a plan that can run.
        rank: what is to be made small.
        until: ``time.monotonic()`` at which to stop.
        one_slice_per_device: only make changes after which no device has a second slice.

    Raises:
        TimeUpError: that was before the first change could be judged.
    """
    walk = _Walk(table, proposal, rank, until, one_slice_per_device=one_slice_per_device)
    while walk.sweep():
        pass
    return walk.ledger.proposal


class _Walk:
    """Sweeps over all moves of a plan, taking each that helps."""

    def __init__(
        self, table: CostTable, proposal: Proposal, rank: Rank, until: float, *, one_slice_per_device: bool
    ) -> None:
        self.ledger = IncrementalCost(table, proposal, until)
        self.one_slice_per_device = one_slice_per_device
        self.rank = rank
        self.until = until
        self.best = self._rank(self.ledger.figures)
        self.before = predecessors(table)
        self.after = successors(table)
        self.states = [np.flatnonzero(row).tolist() for row in possible_states(table)]
        self.devices = table.rows.state_device

    def sweep(self) -> bool:
        """Try every move once; whether any helped."""
        helped = False
        for moves in (self._state_changes, self._merges, self._shifts, self._layer_moves, self._splits):
            for tried in moves():
                if time.monotonic() > self.until:
                    return False
                helped |= self._try(tried)
        return helped

    def _try(self, changes: Iterator[Change]) -> bool:
        """Make the best of some changes of the same slice or layer, if it helps."""
        best: tuple[tuple[float, float], Change, Figures] | None = None
        for change in changes:
            figures = self.ledger.judge(change)
            if figures is not None and not (self.one_slice_per_device and self._shares_device(change)):
                rank = self._rank(figures)
                if self._better(rank, self.best if best is None else best[0]):
                    best = rank, change, figures
        if best is None:
            return False
        self.best = best[0]
        self.ledger.make(best[1], best[2])
        return True

    def _shares_device(self, change: Change) -> bool:
        """Return whether a device has two slices after the change."""
        after = {**self.ledger.alive, **change.contents}
        devices = [self.devices[placed.state] for placed in after.values() if placed is not None]
        return len(set(devices)) < len(devices)

    def _rank(self, figures: Figures) -> tuple[float, float]:
        return self.rank(figures.seconds, figures.joules + self.ledger.rows.idle_w * figures.seconds)

    @staticmethod
    def _better(rank: tuple[float, float], than: tuple[float, float]) -> bool:
        if rank[0] != than[0]:
            return rank[0] < than[0]
        return rank[1] < than[1] - TOLERANCE * abs(than[1])

    def _numbers(self) -> Iterator[int]:
        """Yield the slices, those left out that a move has made disappear meanwhile."""
        for number in list(self.ledger.order):
            if number in self.ledger.alive:
                yield number

    def _state_changes(self) -> Iterator[Iterator[Change]]:
        for number in self._numbers():
            layers, state = self.ledger.placed(number)
            allowed = set(self.states[layers[0]]).intersection(*(self.states[layer] for layer in layers[1:]))
            yield (Change({number: PlacedSlice(layers, other)}, {}, layers) for other in sorted(allowed - {state}))

    def _merges(self) -> Iterator[Iterator[Change]]:
        for first, second in pairwise(list(self.ledger.order)):
            if first in self.ledger.alive and second in self.ledger.alive:
                yield self._merged(first, second)

    def _merged(self, first: int, second: int) -> Iterator[Change]:
        a, b = self.ledger.placed(first), self.ledger.placed(second)
        to = dict.fromkeys(b.layers, first)
        for state in dict.fromkeys((a.state, b.state)):
            yield Change({first: PlacedSlice(a.layers + b.layers, state), second: None}, to, a.layers + b.layers)

    def _shifts(self) -> Iterator[Iterator[Change]]:
        for first, second in pairwise(list(self.ledger.order)):
            if first in self.ledger.alive and second in self.ledger.alive:
                yield self._shifted(first, second)

    def _shifted(self, first: int, second: int) -> Iterator[Change]:
        a, b = self.ledger.placed(first), self.ledger.placed(second)
        for count in SHIFTS:
            if count < len(a.layers):
                moved = a.layers[-count:]
                contents = {first: a._replace(layers=a.layers[:-count]), second: b._replace(layers=moved + b.layers)}
                yield Change(contents, dict.fromkeys(moved, second), moved)
            if count < len(b.layers):
                moved = b.layers[:count]
                contents = {first: a._replace(layers=a.layers + moved), second: b._replace(layers=b.layers[count:])}
                yield Change(contents, dict.fromkeys(moved, first), moved)

    def _splits(self) -> Iterator[Iterator[Change]]:
        for number in self._numbers():
            for place in range(1, len(self.ledger.placed(number).layers)):
                if number in self.ledger.alive and place < len(self.ledger.placed(number).layers):
                    yield self._split(number, place)

    def _split(self, number: int, place: int) -> Iterator[Change]:
        """Give the layers from a place on, or up to it, to a slice of their own in a state that both ends like."""
        layers, state = self.ledger.placed(number)
        head, tail = layers[:place], layers[place:]
        for other in self.states[tail[0]]:
            contents = {number: PlacedSlice(head, state), NEW: PlacedSlice(tail, other)}
            yield Change(contents, dict.fromkeys(tail, NEW), tail, inserted_after=number)
        for other in self.states[head[-1]]:
            if other != state:
                contents = {number: PlacedSlice(head, other), NEW: PlacedSlice(tail, state)}
                yield Change(contents, dict.fromkeys(tail, NEW), layers, inserted_after=number)

    def _layer_moves(self) -> Iterator[Iterator[Change]]:
        for layer in range(len(self.states)):
            yield self._moved(layer)

    def _moved(self, layer: int) -> Iterator[Change]:
        ledger = self.ledger
        own = ledger.slice_of[layer]
        held = ledger.placed(own)
        rest = tuple(other for other in held.layers if other != layer)
        left = held._replace(layers=rest) if rest else None
        for target in self._targets(layer, own):
            layers, state = ledger.placed(target)
            if state in self.states[layer]:
                joined = PlacedSlice(self._with(layers, layer), state)
                yield Change({own: left, target: joined}, {layer: target}, (layer,))

    def _targets(self, layer: int, own: int) -> Iterator[int]:
        """Yield slices that the layer may run in without breaking the order, nearest first on either side."""
        ledger = self.ledger
        low = max((ledger.rank(ledger.slice_of[maker]) for maker in self.before[layer]), default=0.0)
        high = min(
            (ledger.rank(ledger.slice_of[reader]) for reader in self.after[layer]), default=len(ledger.order) - 1.0
        )
        place = int(ledger.rank(own))
        for step in range(1, TARGETS + 1):
            for other in (place - step, place + step):
                if low <= other <= high:
                    yield ledger.order[other]

    def _with(self, layers: Sequence[int], layer: int) -> tuple[int, ...]:
        """Return the layers with one more, right after the last of them that it reads; ascending where they were."""
        if all(a < b for a, b in pairwise(layers)):
            return tuple(sorted((*layers, layer)))
        makers = set(self.before[layer])
        place = max((index + 1 for index, other in enumerate(layers) if other in makers), default=0)
        return (*layers[:place], layer, *layers[place:])
