"""The best plan of slices of consecutive layers, found by trying all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Objective
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal
from mosaic_onnx.planner.core.simulate import simulate, value


def all_proposals(table: CostTable, min_slice_count: int = 0) -> Iterator[Proposal]:
    """Every way to cut the list of layers and to place the slices on states."""
    count, states = len(table.layer_names), range(len(table.state_names))
    for cuts in itertools.product((False, True), repeat=count - 1):
        bounds = [0, *(place + 1 for place, cut in enumerate(cuts) if cut), count]
        slices = [tuple(range(first, end)) for first, end in itertools.pairwise(bounds)]
        if len(slices) >= min(min_slice_count, count):
            for placed in itertools.product(states, repeat=len(slices)):
                yield tuple(map(PlacedSlice, slices, placed))


def least(table: CostTable, objective: Objective = "latency", min_slice_count: int = 0) -> float | None:
    """The least value of the objective over all of them; None where none can run."""
    best: float | None = None
    for proposal in all_proposals(table, min_slice_count):
        try:
            figure = value(simulate(table, proposal), objective)
        except InfeasibleError:
            continue
        best = figure if best is None else min(best, figure)
    return best
