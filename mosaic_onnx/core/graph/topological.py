"""Topological order of numbered items: nodes, layers, groups of layers, functions, entries of foreign files."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """A topological order of numbered items, or the cycle that there is instead.

    Attributes:
        positions: the items, each after all its sources; short where there is a cycle.
        cycle: names of the items on one cycle; empty where there is none.
    """

    positions: tuple[int, ...]
    cycle: tuple[str, ...] = ()

    @property
    def is_identity(self) -> bool:
        """Return whether the items already stand in this order."""
        return not self.cycle and all(index == position for index, position in enumerate(self.positions))


def order_by_sources(
    sources: Sequence[Collection[int]], name: Callable[[int], str] = str, rank: Sequence[int] | None = None
) -> Order:
    """Sort ``0 … n-1`` so that each stands after all its sources, the smallest first (Kahn 1962).

    Args:
        sources: for each item, the items that must come before it, each once.
        name: returns the name of an item, for the report of a cycle.
        rank: of the items that may come next, the one of the smallest rank does; None for the number itself.
    """
    place = range(len(sources)) if rank is None else rank
    waiting = [len(before) for before in sources]
    readers: list[list[int]] = [[] for _ in sources]
    for index, before in enumerate(sources):
        for source in before:
            readers[source].append(index)
    ready = [(place[index], index) for index, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    positions: list[int] = []
    while ready:
        index = heapq.heappop(ready)[1]
        positions.append(index)
        for reader in readers[index]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, (place[reader], reader))
    if len(positions) == len(sources):
        return Order(tuple(positions))
    return Order(tuple(positions), tuple(name(index) for index in _cycle(sources, waiting)))


def _cycle(sources: Sequence[Collection[int]], waiting: Sequence[int]) -> list[int]:
    """Return one cycle among the items that Kahn's algorithm could not place, in reading order."""
    index = next(index for index, count in enumerate(waiting) if count)
    seen: dict[int, None] = {}
    while index not in seen:
        seen[index] = None
        index = next(source for source in sources[index] if waiting[source])
    path = list(seen)
    return path[path.index(index) :][::-1]
