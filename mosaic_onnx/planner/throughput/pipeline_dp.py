"""The best chain of slices through a family of ideals: one slice a device, the largest load as small as can be.

A dynamic program over pairs (ideal, how many devices of each class are used); alike devices are not told apart. All
larger ideals that one slice can reach are looked at together, as arrays; ideals are sorted by their least work, so the
slices that stay under the best load known are a contiguous run.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mosaic_onnx.core.cost_tables.costs import Bools, CostTable, Floats, Ints
from mosaic_onnx.planner.core.device_classes import DeviceClass
from mosaic_onnx.planner.throughput.area_bound import area_bound, cumulated, priced_work, whole_numbers
from mosaic_onnx.planner.throughput.order_ideals import Family
from mosaic_onnx.planner.throughput.pipeline_costs import PipelineCosts, piece_work, unit_of
from mosaic_onnx.planner.throughput.units import Units

MAX_USES = 512
"""Number of combinations of used devices the program keeps apart."""
UNRUNNABLE_S = 1e30
"""Stands for a piece of work that no remaining device can do."""

Indices = NDArray[np.signedinteger[Any]]
Caps = Literal["least", "most"]
"""Count what a slice surely needs (no plan is lost), or what it can need at most (each plan fits)."""


@dataclass(frozen=True)
class ChainSlice:
    """One slice of a chain: its units, the class of its device, and its state on the first device of the class."""

    units: tuple[int, ...]
    device_class: int
    state: int


@dataclass(frozen=True)
class Chain:
    """The result of the program.

    Attributes:
        slices: in order; None where no chain has a load below the limit.
        seconds: the largest load of the chain, by ``PipelineCosts``; inf where there is none.
        finished: every chain through the family was looked at.
    """

    slices: tuple[ChainSlice, ...] | None
    seconds: float
    finished: bool


class ChainProgram:
    """The dynamic program for one family of ideals; built once, run with falling limits."""

    def __init__(self, table: CostTable, units: Units, costs: PipelineCosts, family: Family, caps: Caps) -> None:
        """Prepares the arrays.

        Args:
            table: costs of the layers.
            units: what slices are made of.
            costs: costs of the units.
            family: ideals to chain.
            caps: how memory is counted.
        """
        self.units, self.costs = units, costs
        self.counts = [len(one.devices) for one in costs.classes]
        self.uses = _Uses(self.counts)
        pieces = piece_work(costs)
        self.area = area_bound(pieces, self.counts)
        with np.errstate(invalid="ignore"):
            least = np.where(np.isfinite(pieces), pieces, np.inf).min(axis=1)
        weights, self._key_step_s = whole_numbers(np.where(np.isfinite(least), least, 0.0))
        key = cumulated(weights[None].astype(np.float64), family.member)[0]
        order = np.lexsort((family.member.sum(axis=0), key))
        self.member = np.ascontiguousarray(family.member[:, order])
        self.key = key[order]
        self.work = cumulated(costs.work_s, self.member)
        self.stuck = cumulated((~costs.runs).astype(np.float64), self.member)
        weighed = costs.bytes_least if caps == "least" else costs.bytes_most
        self.bytes = cumulated(weighed, self.member)
        self.cap_bytes = costs.cap_bytes if caps == "least" else costs.spare_bytes
        self.capped = [bool(np.isfinite(cap)) for cap in self.cap_bytes]
        self._prepare_tensors(table)
        self._prepare_remaining(pieces)
        self.largest = self._largest_members()

    def run(self, limit_s: float, deadline: float) -> Chain:
        """Return the chain with the smallest largest load, if that is below the limit.

        Args:
            limit_s: a load known to be reachable; only better ones are looked for.
            deadline: ``time.monotonic()`` at which to give up.
        """
        ideal_count = self.member.shape[1]
        load = np.full((len(self.uses.all), ideal_count), np.inf)
        came_from = np.full((len(self.uses.all), ideal_count), -1, dtype=np.int32)
        came_by = np.zeros((len(self.uses.all), ideal_count), dtype=np.int16)
        load[0, 0] = 0.0
        reach = math.ceil(min(limit_s / self._key_step_s, 2.0**52)) + len(self.units.layers)
        last = np.searchsorted(self.key, self.key + reach, side="right")
        for ideal in range(ideal_count - 1):
            if time.monotonic() > deadline:
                return Chain(None, math.inf, finished=False)
            alive = self._alive(load[:, ideal], ideal, limit_s)
            if not alive:
                continue
            low, high = ideal + 1, int(last[ideal])
            slices = self._loads(ideal, low, high)
            for use in alive:
                for number, onward in self.uses.onward[use]:
                    seconds, column = slices[number]
                    worst = np.maximum(seconds, load[use, ideal])
                    better = (worst < load[onward, low:high]) & (worst < limit_s)
                    if better.any():
                        load[onward, low:high][better] = worst[better]
                        came_from[onward, low:high][better] = ideal
                        came_by[onward, low:high][better] = column[better] if column is not None else self._only(number)
        best = int(load[:, -1].argmin())
        if not math.isfinite(load[best, -1]):
            return Chain(None, math.inf, finished=True)
        return Chain(self._trace(best, came_from, came_by), float(load[best, -1]), finished=True)

    def _alive(self, load: Floats, ideal: int, limit_s: float) -> list[int]:
        """Uses of devices with which this ideal was reached, and from which a plan under the limit may still come."""
        hopeful = np.flatnonzero((load < limit_s) & (self.remaining[:, ideal] < limit_s)).tolist()
        return [
            use
            for use in hopeful
            if not any(load[other] <= load[use] for other in self.uses.fewer[use] if other in hopeful)
        ]

    def _loads(self, ideal: int, low: int, high: int) -> list[tuple[Floats, Ints | None]]:
        """By class: [high-low] the load of the slice from this ideal to each larger one, inf where there is none."""
        member = self.member[:, low:high]
        above = np.ones(high - low, dtype=bool)
        for unit in self.largest[ideal]:
            above &= member[unit]
        crossings = self._crossings(ideal, member)
        by_class: list[list[tuple[int, Floats]]] = [[] for _ in self.costs.classes]
        for column, number in enumerate(self.costs.column_class):
            seconds = self.work[column, low:high] + self.out[column, low:high]
            seconds += self.costs.start_s[column] - self.work[column, ideal]
            for tensor, any_inside, any_outside in crossings:
                into, out = self.costs.in_s[column, tensor], self.costs.out_s[column, tensor]
                if into > 0:
                    seconds += into * any_inside
                if out > 0 and self.hands_on[tensor]:
                    seconds -= out * any_outside
            fits = above & (self.stuck[column, low:high] == self.stuck[column, ideal])
            if self.capped[column]:
                fits &= self.bytes[column, low:high] <= self.cap_bytes[column] + self.bytes[column, ideal]
            by_class[number].append((column, np.where(fits, seconds, np.inf)))
        return [_fastest(columns) for columns in by_class]

    def _crossings(self, ideal: int, member: Bools) -> list[tuple[int, Bools, Bools]]:
        """Tensors that this ideal has and not all readers of which are in it: who of the others is in, who is not."""
        crossings = []
        for tensor in self.boundary[ideal]:
            waiting = [reader for reader in self.readers[tensor] if not self.member[reader, ideal]]
            inside = member[waiting[0]]
            if len(waiting) == 1:
                crossings.append((tensor, inside, ~inside))
            else:
                rows = member[waiting]
                crossings.append((tensor, rows.any(axis=0), ~rows.all(axis=0)))
        return crossings

    def _prepare_tensors(self, table: CostTable) -> None:
        """Tensors that cost something to hand on: their makers, readers, and the ideals on whose boundary they lie."""
        unit = unit_of(self.units)
        paid = (self.costs.in_s > 0).any(axis=0) | (self.costs.out_s > 0).any(axis=0)
        self.readers: dict[int, list[int]] = {}
        self.hands_on = ~table.is_output & (table.producer >= 0)
        on_boundary: list[Ints] = []
        tensors: list[int] = []
        self.out = np.zeros_like(self.work)
        for tensor in np.flatnonzero(paid).tolist():
            maker = unit[int(table.producer[tensor])] if table.producer[tensor] >= 0 else -1
            readers = sorted({unit[reader] for reader in table.consumers[tensor]} - {maker})
            if not readers:
                continue
            self.readers[tensor] = readers
            crossing = ~self.member[readers].all(axis=0)
            if maker >= 0:
                crossing &= self.member[maker]
            if self.hands_on[tensor]:
                self.out += self.costs.out_s[:, tensor, None] * crossing
            on_boundary.append(np.flatnonzero(crossing))
            tensors.append(tensor)
        self.boundary = _lists_by_ideal(tensors, on_boundary, self.member.shape[1])

    def _prepare_remaining(self, pieces: Floats) -> None:
        """[uses, N] what the devices not yet used need at least for the rest, as the area bound counts it."""
        ideal_count = self.member.shape[1]
        self.remaining = np.zeros((len(self.uses.all), ideal_count), dtype=np.float64)
        subsets: dict[tuple[int, ...], Floats] = {}
        for use, used in enumerate(self.uses.all):
            left = [count - gone for count, gone in zip(self.counts, used, strict=True)]
            some = tuple(number for number, count in enumerate(left) if count)
            if not some:
                self.remaining[use] = np.inf
                self.remaining[use, -1] = 0.0
                continue
            price = self.area.price[list(some)]
            if not price.any():
                price = np.ones(len(some))
            if some not in subsets:
                weight = np.minimum(priced_work(pieces[:, list(some)], price), UNRUNNABLE_S)
                done = cumulated(weight[None], self.member)[0]
                subsets[some] = np.maximum(done[-1] - done, 0.0)
            supply = float(price @ np.array([left[number] for number in some]))
            self.remaining[use] = subsets[some] * (1 - 1e-9) / supply if supply else 0.0

    def _largest_members(self) -> list[list[int]]:
        """For each ideal the units in it no reader of which is in it: a larger ideal is one that holds these."""
        units: list[int] = []
        where: list[Ints] = []
        for unit, readers in enumerate(self.units.after):
            top = self.member[unit].copy()
            if readers:
                top &= ~self.member[list(readers)].any(axis=0)
            units.append(unit)
            where.append(np.flatnonzero(top))
        return _lists_by_ideal(units, where, self.member.shape[1])

    def _only(self, number: int) -> int:
        """Return the one column of a class with one state."""
        return self.costs.column_class.index(number)

    def _trace(self, use: int, came_from: Indices, came_by: Indices) -> tuple[ChainSlice, ...]:
        """Return the slices that led to the full ideal."""
        ideal = self.member.shape[1] - 1
        slices: list[ChainSlice] = []
        while ideal > 0:
            previous, column = int(came_from[use, ideal]), int(came_by[use, ideal])
            number = self.costs.column_class[column]
            inside = np.flatnonzero(self.member[:, ideal] & ~self.member[:, previous])
            slices.append(ChainSlice(tuple(inside.tolist()), number, self.costs.column_state[column]))
            use, ideal = self.uses.back(use, number), previous
        return tuple(reversed(slices))


class _Uses:
    """Number of devices of each class are used: all combinations, numbered, and the steps between them."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.all = list(itertools.product(*(range(count + 1) for count in counts)))
        self._number = {used: number for number, used in enumerate(self.all)}
        self.onward = [
            [
                (number, self._number[_changed(used, number, 1)])
                for number, count in enumerate(counts)
                if used[number] < count
            ]
            for used in self.all
        ]
        """[use] (class, the use after one more device of it)"""
        self.fewer = [
            [
                other
                for other, fewer in enumerate(self.all)
                if fewer != used and all(one <= two for one, two in zip(fewer, used, strict=True))
            ]
            for used in self.all
        ]
        """[use] uses of fewer devices"""

    def back(self, use: int, number: int) -> int:
        """Return the use before one device of the class was added."""
        return self._number[_changed(self.all[use], number, -1)]


def _changed(used: tuple[int, ...], number: int, step: int) -> tuple[int, ...]:
    return (*used[:number], used[number] + step, *used[number + 1 :])


def use_count(classes: Sequence[DeviceClass]) -> int:
    """Return how many combinations of used devices there are."""
    return math.prod(len(one.devices) + 1 for one in classes)


def _fastest(columns: list[tuple[int, Floats]]) -> tuple[Floats, Ints | None]:
    """Return the least of some columns, and which it is; None where there is but one."""
    if len(columns) == 1:
        return columns[0][1], None
    stacked = np.stack([seconds for _, seconds in columns])
    best = stacked.argmin(axis=0)
    numbers = np.array([column for column, _ in columns])
    return stacked.min(axis=0), numbers[best]


def _lists_by_ideal(names: Sequence[int], where: Sequence[Ints], ideal_count: int) -> list[list[int]]:
    """For each ideal the names whose index list holds it."""
    lists: list[list[int]] = [[] for _ in range(ideal_count)]
    for name, ideals in zip(names, where, strict=True):
        for ideal in ideals.tolist():
            lists[ideal].append(name)
    return lists
