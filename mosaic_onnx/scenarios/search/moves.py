"""Local moves: small changes of a schedule that keep its slices able to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.search.repair import Repair, fit_memory, in_order

_MOST_DRAWS = 8
"""Draws of moves before a neighbour is given up."""

Move = Callable[["Moves", int, list[PlacedSlice], np.random.Generator], "list[PlacedSlice] | None"]


class Moves:
    """Draws neighbours of schedules."""

    def __init__(self, repair: Repair) -> None:
        """Use the repair's knowledge of which devices can hold which slice."""
        self.repair = repair
        self.graphs = repair.genome.graphs

    def neighbours(self, schedule: Schedule, count: int, rng: np.random.Generator) -> list[Schedule]:
        """Draw up to ``count`` different neighbours, by fixed priorities; fewer where moves fail."""
        found: dict[Schedule, None] = {}
        for _ in range(count):
            neighbour = self.draw(schedule, rng)
            if neighbour is not None and neighbour != schedule:
                found[neighbour] = None
        return list(found)

    def draw(self, schedule: Schedule, rng: np.random.Generator) -> Schedule | None:
        """Draw one neighbour; None where no move fits."""
        schedule = replace(schedule, policy="priority", late_binding=False)
        for _ in range(_MOST_DRAWS):
            if len(self.graphs) > 1 and rng.random() < 0.2:
                return replace(schedule, priority=_moved(schedule.priority, rng))
            model = int(rng.integers(len(self.graphs)))
            move = _MOVES[int(rng.integers(len(_MOVES)))]
            changed = self._apply(move, model, schedule.proposals, rng)
            if changed is not None:
                return replace(schedule, proposals=changed)
        return None

    def _apply(
        self, move: Move, model: int, proposals: Sequence[Proposal], rng: np.random.Generator
    ) -> tuple[Proposal, ...] | None:
        placed = move(self, model, list(proposals[model]), rng)
        if placed is None or self._parts_group(model, placed):
            return None
        try:
            ordered = in_order(self.graphs[model], placed)
            changed = [*proposals[:model], ordered, *proposals[model + 1 :]]
            return fit_memory(self.repair.instance, changed, self.repair.options)
        except InfeasibleError:
            return None

    def _parts_group(self, model: int, placed: Sequence[PlacedSlice]) -> bool:
        """Return whether layers of one group would be on two devices."""
        rows = self.graphs[model].table.rows
        device_of: dict[int, int] = {}
        for one in placed:
            device = rows.state_device[one.state]
            for layer in one.layers:
                group = rows.group[layer]
                if group >= 0 and device_of.setdefault(group, device) != device:
                    return True
        return False

    def pick_state(self, model: int, layers: Sequence[int], rng: np.random.Generator, but: int = -1) -> int | None:
        """Draw a state that can run a slice, other than ``but``, faster ones more often; None where there is none."""
        options = [o for o in self.repair.options(model, tuple(sorted(layers))) if o.state != but]
        if not options:
            return None
        speed = np.array([1.0 / max(option.seconds, 1e-12) for option in options])
        return options[int(rng.choice(len(options), p=speed / speed.sum()))].state


def _remap(moves: Moves, model: int, slices: list[PlacedSlice], rng: np.random.Generator) -> list[PlacedSlice] | None:
    """Give a slice another state."""
    k = int(rng.integers(len(slices)))
    state = moves.pick_state(model, slices[k].layers, rng, but=slices[k].state)
    if state is None:
        return None
    slices[k] = PlacedSlice(slices[k].layers, state)
    return slices


def _merge(moves: Moves, model: int, slices: list[PlacedSlice], rng: np.random.Generator) -> list[PlacedSlice] | None:
    """Join two slices between which a tensor passes."""
    pair = _joined_pair(moves, model, slices, rng)
    if pair is None:
        return None
    layers = tuple(sorted((*slices[pair[0]].layers, *slices[pair[1]].layers)))
    state = moves.pick_state(model, layers, rng)
    if state is None:
        return None
    return [*(one for k, one in enumerate(slices) if k not in pair), PlacedSlice(layers, state)]


def _split(moves: Moves, model: int, slices: list[PlacedSlice], rng: np.random.Generator) -> list[PlacedSlice] | None:
    """Cut a slice in two; one of them may change its state."""
    long = [k for k, one in enumerate(slices) if len(one.layers) > 1]
    if not long:
        return None
    one = slices.pop(long[int(rng.integers(len(long)))])
    layers = tuple(sorted(one.layers))
    at = int(rng.integers(1, len(layers)))
    halves = [layers[:at], layers[at:]]
    changed = int(rng.integers(3))
    states = [moves.pick_state(model, half, rng) if h == changed else one.state for h, half in enumerate(halves)]
    if None in states:
        return None
    return [
        *slices,
        *(PlacedSlice(half, state) for half, state in zip(halves, states, strict=True) if state is not None),
    ]


def _shift(moves: Moves, model: int, slices: list[PlacedSlice], rng: np.random.Generator) -> list[PlacedSlice] | None:
    """Move layers over the boundary between two slices: the last of the first or the first of the second."""
    pair = _joined_pair(moves, model, slices, rng)
    if pair is None:
        return None
    first, second = (slices[k] for k in pair)
    forward = rng.random() < 0.5
    source = sorted((first if forward else second).layers)
    count = min(len(source), int(rng.geometric(0.3)))
    moved = set(source[-count:] if forward else source[:count])
    parts = [
        PlacedSlice(tuple(sorted({*first.layers} - moved if forward else {*first.layers} | moved)), first.state),
        PlacedSlice(tuple(sorted({*second.layers} | moved if forward else {*second.layers} - moved)), second.state),
    ]
    for part in parts:
        able = {option.state for option in moves.repair.options(model, part.layers)} if part.layers else {part.state}
        if part.state not in able:
            return None
    return [*(one for k, one in enumerate(slices) if k not in pair), *(part for part in parts if part.layers)]


def _joined_pair(
    moves: Moves, model: int, slices: Sequence[PlacedSlice], rng: np.random.Generator
) -> tuple[int, int] | None:
    """Draw an edge between two slices; their numbers."""
    graph = moves.graphs[model]
    slice_of = np.empty(len(graph.table.layer_names), dtype=np.int64)
    for k, one in enumerate(slices):
        slice_of[list(one.layers)] = k
    makers, readers = slice_of[graph.first], slice_of[graph.second]
    cut = np.flatnonzero(makers != readers)
    if not len(cut):
        return None
    edge = cut[int(rng.integers(len(cut)))]
    return int(makers[edge]), int(readers[edge])


def _moved(priority: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
    """Return an order with one model taken out and put in elsewhere."""
    order = list(priority)
    model = order.pop(int(rng.integers(len(order))))
    order.insert(int(rng.integers(len(order) + 1)), model)
    return tuple(order)


_MOVES: tuple[Move, ...] = (_remap, _merge, _split, _shift)
