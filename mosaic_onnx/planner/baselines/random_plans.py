"""Random plans, and the best of many: the paper's stand-in for exhaustive search (section VI-A)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import NoPlanFoundError
from mosaic_onnx.planner.baselines.arguments import count, highest_states
from mosaic_onnx.planner.core.memory import slice_memory
from mosaic_onnx.planner.core.request import Answer, PlacedSlice, Proposal, Request

TRIES_PER_PLAN = 20


def random_plans(table: CostTable, request: Request) -> Answer:
    """``random:N``: N unique random plans (default 1) drawn with the request's seed; the simulator picks the best.

    Fewer than N where the plans of a small problem run out.

    Raises:
        NoPlanFoundError: a layer runs nowhere.
        UsageError: N is not a whole number from 1 on.
    """
    return Answer(draw_plans(table, request, count(request, default=1)))


def draw_plans(table: CostTable, request: Request, number: int) -> tuple[Proposal, ...]:
    """Unique random plans that keep the slice caps.

    Each plan draws how often to cut, then cuts the layers (in the table's order) and gives every piece a random state
    that can run it; a piece that no state can run is cut in half. For time objectives only highest levels take part
    (Equation 6), else all of them (Equation 7).

    Raises:
        NoPlanFoundError: a layer runs nowhere.
    """
    has_levels = request.objective in ("energy", "edp")
    states = list(range(len(table.state_names))) if has_levels else highest_states(table)
    drawing = _Drawing(table, states, np.random.Generator(np.random.PCG64(request.seed)))
    plans: dict[Proposal, None] = {}
    for _ in range(number * TRIES_PER_PLAN):
        plans.setdefault(drawing.plan())
        if len(plans) == number:
            break
    return tuple(plans)


class _Drawing:
    """Draws plans; what a range of layers may run on is looked up once."""

    def __init__(self, table: CostTable, states: list[int], stream: np.random.Generator) -> None:
        self.table = table
        self.states = states
        self.stream = stream
        self.able: dict[tuple[int, int], list[int]] = {}

    def plan(self) -> Proposal:
        """Return one plan that keeps the slice caps.

        Raises:
            NoPlanFoundError: a layer runs nowhere.
        """
        layer_count = len(self.table.layer_names)
        share = self.stream.uniform(0.0, 0.6)
        cuts = (np.flatnonzero(self.stream.random(max(0, layer_count - 1)) < share) + 1).tolist()
        slices: list[PlacedSlice] = []
        for first, end in pairwise((0, *cuts, layer_count)):
            slices.extend(self._place(first, end))
        return tuple(slices)

    def _place(self, first: int, end: int) -> tuple[PlacedSlice, ...]:
        """Return the layers from ``first`` to before ``end`` as one slice in a random state, or as two halves."""
        if first == end:
            return ()
        able = self._able(first, end)
        if able:
            return (PlacedSlice(tuple(range(first, end)), able[int(self.stream.integers(len(able)))]),)
        if end - first == 1:
            raise NoPlanFoundError(f"layer {self.table.layer_names[first]} runs nowhere")
        half = (first + end) // 2
        return (*self._place(first, half), *self._place(half, end))

    def _able(self, first: int, end: int) -> list[int]:
        """Return states that support these layers and hold them."""
        if (first, end) not in self.able:
            supported = np.asarray(np.isfinite(self.table.layer_s[first:end]).all(axis=0))
            layers = tuple(range(first, end))
            self.able[first, end] = [
                state for state in self.states if supported[state] and fits(self.table, PlacedSlice(layers, state))
            ]
        return self.able[first, end]


def fits(table: CostTable, placed: PlacedSlice) -> bool:
    """Return the slice keeps its device's ``slice_memory_bytes``."""
    cap = table.rows.slice_memory_bytes[table.rows.state_device[placed.state]]
    return cap == float("inf") or slice_memory(table, placed).total <= cap
