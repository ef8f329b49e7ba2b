"""Downward-closed sets ("ideals") of units: what the slices up to some point can have run.

A pipeline that gives each device one convex set of layers is a chain of ideals, each slice the difference of two
neighbours (Tarnawski et al., NeurIPS 2020). A family of ideals may hold all of them, where they are few, or the
prefixes of some orders.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Bools
from mosaic_onnx.planner.throughput.units import Units

MEMBERSHIP_BYTES = 300_000_000
"""Largest size of the membership matrix of a family."""


@dataclass(frozen=True, eq=False)
class Family:
    """Some ideals, the empty and the full one among them."""

    member: Bools
    """[V, N] unit ``v`` is in ideal ``n``; contiguous along the ideals."""
    complete: bool
    """These are all ideals of the units."""


class Lattice:
    """Ideals as integers whose bit ``v`` says that unit ``v`` is in."""

    def __init__(self, units: Units) -> None:
        """Prepare for the units."""
        self.units = units
        self._needs = [sum(1 << maker for maker in makers) for makers in units.before]
        """[V] bits of the units that must come before"""
        self.full = (1 << len(units.layers)) - 1

    def all_ideals(self, limit: int, deadline: float = math.inf) -> list[int] | None:
        """Return every ideal, or None where there are more than ``limit``, or listing them takes too long.

        Args:
            limit: so many at most.
            deadline: ``time.monotonic()`` at which to give up.
        """
        level = {0}
        found = [0]
        ready_of = {0: self._ready_at_start()}
        while level:
            following: dict[int, list[int]] = {}
            for ideal in level:
                ready = ready_of[ideal]
                if len(found) + len(following) > limit:
                    return None
                for position, unit in enumerate(ready):
                    larger = ideal | 1 << unit
                    if larger not in following:
                        rest = ready[:position] + ready[position + 1 :]
                        following[larger] = rest + self._made_ready(larger, unit)
            if len(found) + len(following) > limit or time.monotonic() > deadline:
                return None
            found += following
            level, ready_of = set(following), following
        return found

    def prefixes(self, orders: Iterable[Sequence[int]]) -> list[int]:
        """Return the ideals along the given orders of units, each once."""
        found = {0: None}
        for order in orders:
            ideal = 0
            for unit in order:
                ideal |= 1 << unit
                found[ideal] = None
        return list(found)

    def around(self, ideals: Iterable[int], limit: int) -> list[int]:
        """Ideals near the given ones: breadth first, a unit more or a unit less, up to ``limit`` of them."""
        found = dict.fromkeys(ideals)
        queue = list(found)
        for ideal in queue:
            if len(queue) >= limit:
                break
            for near in self._neighbours(ideal):
                if near not in found:
                    found[near] = None
                    queue.append(near)
        return queue[:limit]

    def family(self, ideals: Iterable[int], *, complete: bool) -> Family:
        """Return the ideals (with the empty and the full one) as a matrix."""
        masks = list(dict.fromkeys([0, *ideals, self.full]))
        count = len(self.units.layers)
        byte_count = (count + 7) // 8
        packed = np.frombuffer(b"".join(mask.to_bytes(byte_count, "little") for mask in masks), dtype=np.uint8)
        bits = np.unpackbits(packed.reshape(len(masks), byte_count), axis=1, bitorder="little", count=count)
        member = np.ascontiguousarray(bits.T).astype(bool)
        return Family(member=member, complete=complete)

    def most(self, limit: int) -> int:
        """Return how many ideals a family may have at most, and no more than the limit."""
        return min(limit, MEMBERSHIP_BYTES // max(len(self.units.layers), 1))

    def _ready_at_start(self) -> list[int]:
        return [unit for unit, needs in enumerate(self._needs) if not needs]

    def _made_ready(self, ideal: int, added: int) -> list[int]:
        """Return the units that only the unit just added was missing for."""
        return [unit for unit in self.units.after[added] if self._needs[unit] & ~ideal == 0]

    def _neighbours(self, ideal: int) -> list[int]:
        """Return the ideal with one unit more, and with one unit less."""
        near = []
        for unit, needs in enumerate(self._needs):
            bit = 1 << unit
            if ideal & bit:
                if not any(ideal >> reader & 1 for reader in self.units.after[unit]):
                    near.append(ideal ^ bit)
            elif needs & ~ideal == 0:
                near.append(ideal | bit)
        return near
