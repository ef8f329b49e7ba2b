"""The front of seconds and joules on a chain: the interval program with fronts in place of numbers.

Exact with slice overheads, slice caps, measured slices and both kinds of ``io``; without level switches, caps on whole
devices and groups it counts less than the simulator, so its front is then a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.costs import CostTable, Floats, Ints
from mosaic_onnx.planner.chain.chain_costs import ChainCosts, chain_costs
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, weigh
from mosaic_onnx.planner.core.pareto_filter import front_indices
from mosaic_onnx.planner.core.request import TOLERANCE, PlacedSlice, Proposal


@dataclass(frozen=True, eq=False)
class ChainPoint:
    """One plan of the front, with its figures as the program counts them."""

    seconds: float
    joules: float
    proposal: Proposal


@dataclass(frozen=True, eq=False)
class _Labels:
    """A front of plans of the first layers.

    Attributes:
        points: [N, 2] seconds and joules, by rising seconds.
        names: [N] number of each label among all labels made.
    """

    points: Floats
    names: Ints


@dataclass(frozen=True)
class HalfPlane:
    """Only plans with ``seconds`` · s + ``joules`` · j <= ``limit`` are wanted."""

    seconds: float
    joules: float
    limit: float


class TooManyError(Exception):
    """The fronts grow beyond the limit."""


def chain_front(
    table: CostTable, wanted: Sequence[HalfPlane] = (), label_limit: int = 3_000_000, width_s: float = 0.0
) -> list[ChainPoint] | None:
    """Return the front of all slices of a chain's layers in list order; None where it is too large.

    The layers must form a chain along the list (``chain_costs.is_chain``), and the table must have joules.

    Args:
        table: costs.
        wanted: plans outside any of these need not be found; each prunes by the cheapest way on.
        label_limit: labels looked at in all.
        width_s: of labels whose seconds fall into one span of this width only the thriftiest goes on: then all points
            are plans, but better ones may be missing. 0 for the exact front.
    """
    order = range(len(table.layer_names))
    both = [chain_costs(table, weigh(table, weights), order) for weights in (LATENCY, ENERGY)]
    try:
        return _Program(both[0], both[1], wanted, label_limit, width_s).run()
    except TooManyError:
        return None


class _Program:
    """One run along the chain."""

    def __init__(
        self, seconds: ChainCosts, joules: ChainCosts, wanted: Sequence[HalfPlane], label_limit: int, width_s: float
    ) -> None:
        self.width_s = width_s
        self.chain, self.joules, self.left = seconds, joules, label_limit
        self.node = np.stack([np.array(seconds.node), np.array(joules.node)], axis=-1)
        """[L, S, 2]"""
        self.per_slice = np.stack([np.array(seconds.per_slice), np.array(joules.per_slice)], axis=-1)
        """[S, 2]"""
        self.queued = set(seconds.queued)
        self.cuts = [np.zeros((0, 0, 2)), *(self._cuts(place) for place in range(1, len(self.node)))]
        """[L] of [S to, S from, 2] what beginning a slice at each place costs"""
        self.wanted = [] if seconds.measured else [(plane, self._ways_on(plane)) for plane in wanted]
        self.before: list[Ints] = []
        self.state: list[Ints] = []
        self.start: list[Ints] = []
        self.count = 0

    def _cuts(self, place: int) -> Floats:
        states = range(len(self.per_slice))
        costs = [[chain.cuts_into(place, state) for state in states] for chain in (self.chain, self.joules)]
        return np.asarray(np.moveaxis(np.array(costs), 0, -1))

    def _ways_on(self, plane: HalfPlane) -> Floats:
        """Return [L, S] the least that the layers after each place cost, with the slice in each state open there."""
        weights = np.array([plane.seconds, plane.joules])
        node = np.where(np.isfinite(self.node).all(axis=-1), np.nan_to_num(self.node, posinf=0.0) @ weights, np.inf)
        on = np.zeros_like(node)
        for place in range(len(node) - 2, -1, -1):
            following = node[place + 1] + on[place + 1]
            on[place] = np.minimum(following, (self.cuts[place + 1] @ weights + following[:, None]).min(axis=0))
        return on

    def run(self) -> list[ChainPoint]:
        """Return the front, by rising seconds."""
        length, state_count = self.node.shape[:2]
        if not length:
            return [ChainPoint(0.0, 0.0, ())]
        entries: list[list[_Labels]] = []
        closed: list[_Labels] = []
        for place in range(length):
            entries.append([self._entry(place, state, closed) for state in range(state_count)])
            closed = [self._closed(place, state, entries, closed) for state in range(state_count)]
        records = [np.concatenate(parts) for parts in (self.before, self.start, self.state)] if self.count else []
        final = _union([(labels, np.zeros(2)) for labels in closed])
        return [
            ChainPoint(float(point[0]), float(point[1]), self._slices(records, int(name), length))
            for point, name in zip(final.points, final.names, strict=True)
        ]

    def _entry(self, place: int, state: int, closed: list[_Labels]) -> _Labels:
        """Plans of the layers before ``place``, with what beginning a slice there in ``state`` costs paid for."""
        if place == 0:
            return _Labels(self.per_slice[None, state], np.array([-1]))
        return _union(list(zip(closed, self.cuts[place][state], strict=True)))

    def _closed(self, place: int, state: int, entries: list[list[_Labels]], earlier: list[_Labels]) -> _Labels:
        """Return plans of the layers up to ``place`` whose last slice is in ``state``."""
        if not np.isfinite(self.node[place, state]).all():
            return _Labels(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
        if state not in self.queued:
            return self._grown(place, state, entries[place][state], earlier[state] if place else None)
        window = self.chain.windows.get(state)
        oldest = window[place] if window is not None else 0
        measured = [
            {one.first: one.cost for one in chain.measured.get((state, place), [])}
            for chain in (self.chain, self.joules)
        ]
        parts, starts, whole = [], [], np.zeros(2)
        for start in range(place, oldest - 1, -1):
            whole = whole + self.node[start, state]
            if not np.isfinite(whole).all():
                break
            cost = whole
            if start in measured[0]:
                cost = np.array([costs[start] for costs in measured]) - self.per_slice[state]
            parts.append((entries[start][state], cost))
            starts.append(start)
        return self._named(parts, starts, place, state)

    def _grown(self, place: int, state: int, entry: _Labels, earlier: _Labels | None) -> _Labels:
        """The slice that is open in the state goes on, or one begins; a label that goes on keeps its name's start."""
        here = self._named([(entry, self.node[place, state])], [place], place, state)
        if earlier is None:
            return here
        grown = _union([(earlier, self.node[place, state]), (here, np.zeros(2))])
        return self._kept(grown, place, state)

    def _kept(self, labels: _Labels, place: int, state: int) -> _Labels:
        """Return the labels that a wanted plan may still come of."""
        keep = np.ones(len(labels.points), dtype=np.bool_)
        for plane, on in self.wanted:
            least = labels.points @ np.array([plane.seconds, plane.joules]) + on[place, state]
            keep &= least <= plane.limit * (1 + TOLERANCE)
        if self.width_s:
            span = np.floor(labels.points[:, 0] / self.width_s)
            keep[:-1] &= span[:-1] != span[1:]
        return labels if keep.all() else _Labels(labels.points[keep], labels.names[keep])

    def _named(self, parts: list[tuple[_Labels, Floats]], starts: list[int], place: int, state: int) -> _Labels:
        """Return the front of all parts, as new labels that know where they came from."""
        sizes = [len(labels.points) for labels, _ in parts]
        self.left -= sum(sizes)
        if self.left < 0:
            raise TooManyError
        if not sum(sizes):
            return _Labels(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
        points = np.concatenate([labels.points + cost for labels, cost in parts])
        keep = front_indices(points)
        self.before.append(np.concatenate([labels.names for labels, _ in parts])[keep])
        self.start.append(np.repeat(starts, sizes)[keep])
        self.state.append(np.full(len(keep), state))
        names = self.count + np.arange(len(keep))
        self.count += len(keep)
        return self._kept(_Labels(points[keep], names), place, state)

    def _slices(self, records: Sequence[Ints], name: int, length: int) -> Proposal:
        before, start, state = records
        slices, end = [], length
        while name >= 0:
            slices.append(PlacedSlice(tuple(range(int(start[name]), end)), int(state[name])))
            end, name = int(start[name]), int(before[name])
        return tuple(reversed(slices))


def _union(parts: Sequence[tuple[_Labels, Floats]]) -> _Labels:
    points = np.concatenate([labels.points + cost for labels, cost in parts])
    names = np.concatenate([labels.names for labels, _ in parts])
    keep = front_indices(points)
    return _Labels(points[keep], names[keep])
