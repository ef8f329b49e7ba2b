"""The front of seconds and joules on a chain: the interval program with fronts in place of numbers.

Exact with slice overheads, slice caps, measured slices, both kinds of ``io``, level switches and groups. Caps on whole
devices are left out, so with them its front is a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Bools, CostTable, Floats, Ints
from mosaic_onnx.planner.chain.chain_costs import ChainCosts, chain_costs
from mosaic_onnx.planner.chain.couplings import Couplings, front_by_code
from mosaic_onnx.planner.core.deadline import FOREVER, TimeUpError, check_time
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, weigh
from mosaic_onnx.planner.core.pareto_filter import front_indices
from mosaic_onnx.planner.core.request import TOLERANCE, PlacedSlice, Proposal

PRUNING_WEIGHTS = 12
"""With so many weighed sums labels are compared with plans that are known."""


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
        codes: [N] what the rest depends on (``Couplings``).
    """

    points: Floats
    names: Ints
    codes: Ints

    def __getitem__(self, kept: Ints | Bools) -> _Labels:
        """Return some of the labels."""
        return _Labels(self.points[kept], self.names[kept], self.codes[kept])


@dataclass(frozen=True)
class HalfPlane:
    """Only plans with ``seconds`` · s + ``joules`` · j <= ``limit`` are wanted."""

    seconds: float
    joules: float
    limit: float


class TooManyError(Exception):
    """The fronts grow beyond the limit."""


def chain_front(
    table: CostTable,
    wanted: Sequence[HalfPlane] = (),
    label_limit: int = 3_000_000,
    width_s: float = 0.0,
    *,
    known: Sequence[tuple[float, float]] = (),
    until: float = FOREVER,
) -> list[ChainPoint] | None:
    """Return the front of all slices of a chain's layers in list order; None where it is too large.

    The layers must form a chain along the list (``chain_costs.is_chain``), and the table must have joules.

    Args:
        table: costs.
        wanted: plans outside any of these need not be found; each prunes by the cheapest way on.
        label_limit: labels looked at in all.
        width_s: of labels whose seconds fall into one span of this width only the thriftiest goes on: then all points
            are plans, but better ones may be missing. 0 for the exact front.
        known: (seconds, joules) of plans that are known: what they beat need not be found.
        until: ``time.monotonic()`` at which it counts as too large.
    """
    order = range(len(table.layer_names))
    both = [chain_costs(table, weigh(table, weights), order) for weights in (LATENCY, ENERGY)]
    try:
        program = _Program(both[0], both[1], wanted, label_limit, width_s, Couplings(table), until)
        program.prune_by(known)
        return program.run()
    except (TooManyError, TimeUpError):
        return None


class _Program:
    """One run along the chain."""

    def __init__(
        self,
        seconds: ChainCosts,
        joules: ChainCosts,
        wanted: Sequence[HalfPlane],
        label_limit: int,
        width_s: float,
        couplings: Couplings,
        until: float,
    ) -> None:
        self.width_s, self.couplings, self.until = width_s, couplings, until
        self.chain, self.joules, self.left = seconds, joules, label_limit
        self.node = np.stack([np.array(seconds.node), np.array(joules.node)], axis=-1)
        """[L, S, 2]"""
        self.per_slice = np.stack([np.array(seconds.per_slice), np.array(joules.per_slice)], axis=-1)
        """[S, 2]"""
        self.queued = set(seconds.queued)
        self.cuts = [np.zeros((0, 0, 2)), *(self._cuts(place) for place in range(1, len(self.node)))]
        """[L] of [S to, S from, 2] what beginning a slice at each place costs"""
        self.measured = bool(seconds.measured)
        self.wanted = [] if self.measured else [(plane, self._ways_on(plane)) for plane in wanted]
        self.corners: Floats = np.zeros((0, 2))
        """[M, 2] a wanted plan lies below one of these in both"""
        self.ways_on: list[tuple[Floats, Floats]] = []
        """(weights [2], [L, S] the least that the rest costs with them)"""
        self.before: list[Ints] = []
        self.state: list[Ints] = []
        self.start: list[Ints] = []
        self.count = 0

    def prune_by(self, known: Sequence[tuple[float, float]]) -> None:
        """Leave out labels from which every way on is beaten by plans that are known."""
        points = np.array(sorted(known)).reshape(-1, 2)
        if len(points) < 2 or self.measured:
            return
        points = points[front_indices(points)]
        ends = np.array([[np.inf, points[-1, 1]], [points[0, 0], np.inf]])
        self.corners = np.concatenate([np.column_stack([points[1:, 0], points[:-1, 1]]), ends])
        self.corners[~np.isfinite(self.corners)] = 1e3 * np.abs(points).max()
        slopes = np.diff(points, axis=0)[:: max(1, len(points) // PRUNING_WEIGHTS)]
        weights = [np.array([1.0, 0.0]), np.array([0.0, 1.0]), *np.column_stack([-slopes[:, 1], slopes[:, 0]])]
        self.ways_on = [(one, self._ways_on(HalfPlane(one[0], one[1], 0.0))) for one in weights]

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
            check_time(self.until)
            entries.append([self._entry(place, state, closed) for state in range(state_count)])
            closed = [self._closed(place, state, entries, closed) for state in range(state_count)]
        records = [np.concatenate(parts) for parts in (self.before, self.start, self.state)] if self.count else []
        last = [_Labels(labels.points, labels.names, np.zeros_like(labels.codes)) for labels in closed]
        final = self._union([(labels, np.zeros(2)) for labels in last])
        return [
            ChainPoint(float(point[0]), float(point[1]), self._slices(records, int(name), length))
            for point, name in zip(final.points, final.names, strict=True)
        ]

    def _entry(self, place: int, state: int, closed: list[_Labels]) -> _Labels:
        """Plans of the layers before ``place``, with what beginning a slice there in ``state`` costs paid for."""
        if place == 0:
            _, codes = self.couplings.enter(np.zeros(1, dtype=np.int64), state)
            return _Labels(self.per_slice[None, state], np.array([-1]), codes)
        parts: list[tuple[_Labels, Floats]] = []
        for labels, cut in zip(closed, self.cuts[place][state], strict=True):
            costs, codes = self.couplings.enter(labels.codes, state)
            parts.append((_Labels(labels.points + costs, labels.names, codes), cut))
        return self._union(parts)

    def _closed(self, place: int, state: int, entries: list[list[_Labels]], earlier: list[_Labels]) -> _Labels:
        """Return plans of the layers up to ``place`` whose last slice is in ``state``."""
        if not np.isfinite(self.node[place, state]).all():
            return _nothing()
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
            parts.append((self._run(entries[start][state], start, place, state), cost))
            starts.append(start)
        return self._named(parts, starts, place, state)

    def _grown(self, place: int, state: int, entry: _Labels, earlier: _Labels | None) -> _Labels:
        """The slice that is open in the state goes on, or one begins; a label that goes on keeps its name's start."""
        here = self._named([(self._run(entry, place, place, state), self.node[place, state])], [place], place, state)
        if earlier is None:
            return here
        longer = self._run(earlier, place, place, state)
        grown = self._union([(longer, self.node[place, state]), (here, np.zeros(2))])
        return self._kept(grown, place, state)

    def _run(self, labels: _Labels, first: int, last: int, state: int) -> _Labels:
        """Return the labels after some layers in a state; those go of which that would part a group."""
        if not self.couplings.last_of_group:
            return labels
        kept, codes = self.couplings.run(labels.codes, first, last, state)
        return _Labels(labels.points, labels.names, codes)[kept]

    def _union(self, parts: Sequence[tuple[_Labels, Floats]]) -> _Labels:
        points = np.concatenate([labels.points + cost for labels, cost in parts])
        names = np.concatenate([labels.names for labels, _ in parts])
        codes = np.concatenate([labels.codes for labels, _ in parts])
        labels = _Labels(points, names, codes)
        return labels[self._front(points, codes)]

    def _front(self, points: Floats, codes: Ints) -> Ints:
        """Return the indices of the labels that no other makes needless."""
        if not codes.any():
            return front_indices(points)
        kept = front_by_code(points, codes)
        return np.asarray(kept[~self.couplings.dominated(points[kept], codes[kept])])

    def _kept(self, labels: _Labels, place: int, state: int) -> _Labels:
        """Return the labels that a wanted plan may still come of."""
        keep = np.ones(len(labels.points), dtype=np.bool_)
        for plane, on in self.wanted:
            least = labels.points @ np.array([plane.seconds, plane.joules]) + on[place, state]
            keep &= least <= plane.limit * (1 + TOLERANCE)
        if self.ways_on and len(labels.points):
            below = np.ones((len(labels.points), len(self.corners)), dtype=np.bool_)
            for weights, on in self.ways_on:
                least = (labels.points @ weights + on[place, state]) * (1 - TOLERANCE)
                below &= least[:, None] <= (self.corners @ weights)[None, :]
            keep &= below.any(axis=1)
        if self.width_s:
            span = np.floor(labels.points[:, 0] / self.width_s)
            keep[:-1] &= (span[:-1] != span[1:]) | (labels.codes[:-1] != labels.codes[1:])
        return labels if keep.all() else labels[keep]

    def _named(self, parts: list[tuple[_Labels, Floats]], starts: list[int], place: int, state: int) -> _Labels:
        """Return the front of all parts, as new labels that know where they came from."""
        sizes = [len(labels.points) for labels, _ in parts]
        self.left -= sum(sizes)
        if self.left < 0:
            raise TooManyError
        if not sum(sizes):
            return _nothing()
        points = np.concatenate([labels.points + cost for labels, cost in parts])
        codes = np.concatenate([labels.codes for labels, _ in parts])
        keep = self._front(points, codes)
        self.before.append(np.concatenate([labels.names for labels, _ in parts])[keep])
        self.start.append(np.repeat(starts, sizes)[keep])
        self.state.append(np.full(len(keep), state))
        names = self.count + np.arange(len(keep))
        self.count += len(keep)
        return self._kept(_Labels(points[keep], names, codes[keep]), place, state)

    def _slices(self, records: Sequence[Ints], name: int, length: int) -> Proposal:
        before, start, state = records
        slices, end = [], length
        while name >= 0:
            slices.append(PlacedSlice(tuple(range(int(start[name]), end)), int(state[name])))
            end, name = int(start[name]), int(before[name])
        return tuple(reversed(slices))


def _nothing() -> _Labels:
    """Return no labels."""
    none = np.zeros(0, dtype=np.int64)
    return _Labels(np.zeros((0, 2)), none, none)
