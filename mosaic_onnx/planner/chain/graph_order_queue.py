"""Parts of the interval program along an order: slices found so far, tensors still wanted, starts of capped states."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Floats

INF = float("inf")


class Nodes:
    """Every slice that was ever begun: its first place, its state, the slice before it."""

    def __init__(self) -> None:
        self.bases: list[int] = []
        self.blocks: list[tuple[int, Sequence[int], Sequence[int]]] = []
        self.count = 0

    def add(self, place: int, states: Sequence[int], parents: Sequence[int]) -> int:
        """Return slices that begin at one place; the number of the first, the others follow."""
        self.bases.append(self.count)
        self.blocks.append((place, states, parents))
        self.count += len(states)
        return self.bases[-1]

    def find(self, node: int) -> tuple[int, int, int]:
        """First place, state and the slice before (-1 for none) of one slice."""
        block = bisect_right(self.bases, node) - 1
        place, states, parents = self.blocks[block]
        return place, states[node - self.bases[block]], parents[node - self.bases[block]]


class OpenTensors:
    """Tensors that later layers still want, and the places that tell runs apart."""

    def __init__(self, to_host: Floats) -> None:
        self.to_host = to_host
        self.made_at: dict[int, int] = {}
        self.marks: Counter[int] = Counter()

    def open(self, tensor: int, place: int) -> None:
        """A tensor was made that has to be brought to host if its run ends."""
        self.made_at[tensor] = place
        self.mark(place)

    def is_open(self, tensor: int) -> bool:
        """Return whether it is one of them."""
        return tensor in self.made_at

    def close(self, tensor: int) -> None:
        """Forget the tensor: no layer to come reads it."""
        self.unmark(self.made_at.pop(tensor))

    def mark(self, place: int) -> None:
        """Mark a place: runs that began by it differ from later ones."""
        self.marks[place] += 1

    def unmark(self, place: int) -> None:
        """Take back one mark."""
        self.marks[place] -= 1
        if not self.marks[place]:
            del self.marks[place]

    def is_bound(self, place: int) -> bool:
        """Return whether runs that began by this place differ from later ones."""
        return place in self.marks

    def out(self, run: int, state: int) -> float:
        """Return what a run that began at ``run`` has to bring to host if it ends now."""
        return sum([float(self.to_host[tensor, state]) for tensor, place in self.made_at.items() if place >= run])


class Start(NamedTuple):
    """A slice that is open: where its run began, cost so far, what leaves if it ends now, its number."""

    run: int
    cost: float
    out: float
    node: int


class Starts:
    """All open slices of one state, oldest first, with the cap's window at their front."""

    def __init__(self, state: int, window: list[int] | None) -> None:
        self.state, self.window = state, window
        self.first = np.empty(16, dtype=np.int64)
        """[n] where the slice began"""
        self.run = np.empty(16, dtype=np.int64)
        """[n] where its run began"""
        self.cost = np.empty(16)
        self.out = np.empty(16)
        self.node = np.empty(16, dtype=np.int64)
        self.base = np.empty(16)
        """[n] Σ execution of the layers before it"""
        self.head = self.tail = 0
        self.prefix = 0.0
        self.closed = np.empty(0)
        """[n] cost if the slice ended at the last place, with its own measurement where there is one"""

    def push(self, first: int, run: int, cost: float, out: float, node: int) -> None:
        """A slice begins."""
        if cost == INF:
            return
        if self.tail == len(self.cost):
            self._grow()
        at = self.tail
        self.first[at], self.run[at], self.cost[at] = first, run, cost
        self.out[at], self.node[at], self.base[at] = out, node, self.prefix
        self.tail += 1

    def _grow(self) -> None:
        """Drop what has left the window; double the room where that is not enough."""
        room = max(16, 2 * (self.tail - self.head))
        for name in ("first", "run", "cost", "out", "node", "base"):
            old = getattr(self, name)[self.head : self.tail]
            new = np.empty(room, dtype=old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
        self.head, self.tail = 0, self.tail - self.head

    def charge_after(self, place: int, cost: float) -> None:
        """Runs that began after ``place`` pay for a tensor to come."""
        if cost:
            part = slice(self.head, self.tail)
            self.cost[part][self.run[part] > place] += cost

    def owe_until(self, place: int, cost: float) -> None:
        """Runs that began by ``place`` have one tensor more (or, negative, less) to bring to host."""
        if cost:
            part = slice(self.head, self.tail)
            self.out[part][self.run[part] <= place] += cost

    def execute(self, j: int, execution: float, copies: float) -> None:
        """Run the layer at ``j``; ``copies``: what it makes for the model's outputs goes to host."""
        if execution == INF:
            self.head = self.tail
            return
        self.cost[self.head : self.tail] += execution + copies
        self.prefix += execution
        if self.window is not None:
            while self.head < self.tail and self.first[self.head] < self.window[j]:
                self.head += 1

    def close(self, segments: Mapping[int, float], per_slice: float) -> tuple[float, int]:
        """Return the least cost if a slice ends now, and that slice; ``segments``: measured cost by first place."""
        part = slice(self.head, self.tail)
        self.closed = self.cost[part].copy()
        if self.head == self.tail:
            return INF, -1
        for first, measured in segments.items():
            same = self.first[part] == first
            self.closed[same] += measured - per_slice - (self.prefix - self.base[part][same])
        total = self.closed + self.out[part]
        at = int(total.argmin())
        return float(total[at]), int(self.node[self.head + at])

    def cheapest(self) -> list[Start]:
        """Return the slices just closed with the least cost, without and with what would leave if the run ended too."""
        if not len(self.closed):
            return []
        owed = self.out[self.tail - len(self.closed) : self.tail]
        picked = {int(self.closed.argmin()), int((self.closed + owed).argmin())}
        return [
            Start(int(self.run[at]), float(self.closed[at - self.head]), float(self.out[at]), int(self.node[at]))
            for at in sorted(at + self.head for at in picked)
        ]
