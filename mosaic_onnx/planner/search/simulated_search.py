"""Polish: change a plan a little, ask the simulator, keep what is better, until nothing is or the time is up.

For objectives and schedules whose costs do not come apart by slices, so that each change needs a whole simulation:
concurrent schedules and throughput. Sequential plans have ``moves``, which judges changes in microseconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.request import TOLERANCE, PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.request_constraints import one_slice_each
from mosaic_onnx.planner.core.simulate import Timeline, simulate, value

ROUNDING = 1e-12
"""Values that are this close are equal."""
Rank = Callable[[Timeline], float]
"""The figure to be minimised."""
REACH = 4
"""Number of slices before and after its own a layer is tried in, and how far a slice is moved."""


def rank_of(request: Request) -> Rank:
    """Return the request's objective, with a little of the loads so that equal makespans still tell plans apart."""

    def rank(timeline: Timeline) -> float:
        return value(timeline, request.objective) * (1 + 1e-6) + 1e-9 * sum(timeline.load_s)

    return rank


@dataclass(frozen=True)
class Figure:
    """The figure to be minimised and, to tell equal plans apart, the busy time of all devices together."""

    value: float
    busy_s: float

    def better_than(self, other: Figure) -> bool:
        """Return whether it is smaller, or equal and less busy."""
        if self.value < other.value * (1 - TOLERANCE):
            return True
        return self.value <= other.value * (1 + ROUNDING) and self.busy_s < other.busy_s * (1 - TOLERANCE)


def polish(
    table: CostTable, request: Request, proposal: Proposal, deadline: float, *, whole_slices: bool = False
) -> Proposal:
    """Return the best plan found by small changes; the proposal itself where it cannot run or nothing helps.

    Args:
        table: costs.
        request: what is to be small, and the schedule.
        proposal: where to start.
        deadline: ``time.monotonic()`` at which to stop.
        whole_slices: only try other states of slices and joining neighbours, which are few changes.
    """
    search = _Polish(table, request, deadline, whole_slices)
    best = search.figure(proposal)
    if best is None:
        return proposal
    improved = True
    while improved and time.monotonic() < deadline:
        improved = False
        for neighbours in search.kinds:
            found = search.first_better(neighbours(proposal), best)
            while found is not None:
                proposal, best = found
                improved = True
                found = search.first_better(neighbours(proposal), best)
    return proposal


def best_of(table: CostTable, request: Request, proposals: Sequence[Proposal]) -> Proposal:
    """Return the proposal that the simulator likes best; the first where none can run."""
    search = _Polish(table, request, math.inf)
    best, chosen = None, proposals[0]
    for proposal in proposals:
        figure = search.figure(proposal)
        if figure is not None and (best is None or figure.better_than(best)):
            best, chosen = figure, proposal
    return chosen


class _Polish:
    """The kinds of change, and the judge."""

    def __init__(self, table: CostTable, request: Request, deadline: float, whole_slices: bool = False) -> None:
        self.table, self.request, self.deadline = table, request, deadline
        self.states = [np.flatnonzero(row).tolist() for row in possible_states(table)]
        self.kinds = [self._other_states, self._merged]
        if not whole_slices:
            self.kinds += [self._moved_layers, self._split, self._moved_slices]

    def figure(self, proposal: Proposal) -> Figure | None:
        """Return how bad it is; None where it cannot run or breaks what is asked."""
        try:
            timeline = simulate(self.table, proposal, self.request.schedule)
        except InfeasibleError:
            return None
        if self.request.one_slice_per_device and not one_slice_each(self.table, proposal):
            return None
        return Figure(value(timeline, self.request.objective), sum(timeline.load_s))

    def first_better(self, proposals: Iterator[Proposal], best: Figure) -> tuple[Proposal, Figure] | None:
        """Return the first of some proposals that is better; None where none is, or the time is up."""
        for proposal in proposals:
            if time.monotonic() > self.deadline:
                return None
            figure = self.figure(proposal)
            if figure is not None and figure.better_than(best):
                return proposal, figure
        return None

    def _other_states(self, proposal: Proposal) -> Iterator[Proposal]:
        """Yield a slice in another state."""
        for k, (layers, state) in enumerate(proposal):
            allowed = set(self.states[layers[0]]).intersection(*(self.states[layer] for layer in layers[1:]))
            for other in sorted(allowed - {state}):
                yield (*proposal[:k], PlacedSlice(layers, other), *proposal[k + 1 :])

    def _merged(self, proposal: Proposal) -> Iterator[Proposal]:
        """Yield two neighbours as one slice, in the state of either."""
        for k in range(len(proposal) - 1):
            one, two = proposal[k], proposal[k + 1]
            for state in dict.fromkeys((one.state, two.state)):
                for layers in dict.fromkeys((one.layers + two.layers, tuple(sorted(one.layers + two.layers)))):
                    yield (*proposal[:k], PlacedSlice(layers, state), *proposal[k + 2 :])

    def _moved_layers(self, proposal: Proposal) -> Iterator[Proposal]:
        """Yield one layer in another slice."""
        for k, (layers, state) in enumerate(proposal):
            for layer in layers:
                rest = tuple(other for other in layers if other != layer)
                left = (PlacedSlice(rest, state),) if rest else ()
                for target in range(max(0, k - REACH), min(len(proposal), k + REACH + 1)):
                    if target == k or proposal[target].state not in self.states[layer]:
                        continue
                    joined = PlacedSlice(tuple(sorted((*proposal[target].layers, layer))), proposal[target].state)
                    changed: list[tuple[PlacedSlice, ...]] = [(placed,) for placed in proposal]
                    changed[k], changed[target] = left, (joined,)
                    yield tuple(placed for part in changed for placed in part)

    def _split(self, proposal: Proposal) -> Iterator[Proposal]:
        """Yield a slice cut in two, either part perhaps in another state."""
        for k, (layers, state) in enumerate(proposal):
            for place in range(1, len(layers)):
                head, tail = layers[:place], layers[place:]
                pairs = [(state, state)]
                pairs += [(state, other) for other in self.states[tail[0]] if other != state]
                pairs += [(other, state) for other in self.states[head[-1]] if other != state]
                for first, second in pairs:
                    yield (*proposal[:k], PlacedSlice(head, first), PlacedSlice(tail, second), *proposal[k + 1 :])

    def _moved_slices(self, proposal: Proposal) -> Iterator[Proposal]:
        """Yield a slice earlier or later in the order."""
        for k in range(len(proposal)):
            rest = proposal[:k] + proposal[k + 1 :]
            for place in range(max(0, k - REACH), min(len(rest), k + REACH) + 1):
                if place != k:
                    yield (*rest[:place], proposal[k], *rest[place:])
