"""Random plans, and the best of many: the paper's stand-in for exhaustive search (section VI-A)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mosaic_onnx.costs import CostTable
from mosaic_onnx.errors import InfeasibleError
from mosaic_onnx.planner.baselines.arguments import count, highest_states
from mosaic_onnx.planner.memory import slice_memory
from mosaic_onnx.planner.request import Answer, Placed, Proposal, Request

TRIES_PER_PLAN = 20


def random_plans(table: CostTable, request: Request) -> Answer:
    """``random:N``: N unique random plans (default 1) drawn with the request's seed; the simulator picks the best.

    Fewer than N where the plans of a small problem run out.

    Raises:
        InfeasibleError: a layer runs nowhere.
        UsageError: N is not a whole number from 1 on.
    """
    return Answer(draw_plans(table, request, count(request, default=1)))


def draw_plans(table: CostTable, request: Request, number: int) -> tuple[Proposal, ...]:
    """Unique random plans that keep the slice caps.

    Each plan draws how often to cut, then cuts the layers (in the table's order) and gives every piece a random state
    that can run it; a piece that no state can run is cut in half. For time objectives only highest levels take part
    (Equation 6), else all of them (Equation 7).

    Raises:
        InfeasibleError: a layer runs nowhere.
    """
    stream = np.random.Generator(np.random.PCG64(request.seed))
    has_levels = request.objective in ("energy", "edp")
    states = list(range(len(table.state_names))) if has_levels else highest_states(table)
    plans: dict[Proposal, None] = {}
    for _ in range(number * TRIES_PER_PLAN):
        plans.setdefault(_draw(table, states, stream))
        if len(plans) == number:
            break
    return tuple(plans)


def _draw(table: CostTable, states: list[int], stream: np.random.Generator) -> Proposal:
    layer_count = len(table.layer_names)
    share = stream.uniform(0.0, 0.6)
    cuts = [layer for layer in range(1, layer_count) if stream.random() < share]
    bounds = [0, *cuts, layer_count]
    slices: list[Placed] = []
    for first, end in pairwise(bounds):
        slices.extend(_place(table, tuple(range(first, end)), states, stream))
    return tuple(slices)


def _place(
    table: CostTable, layers: tuple[int, ...], states: list[int], stream: np.random.Generator
) -> tuple[Placed, ...]:
    """The layers as one slice in a random state that can run them, or as two halves."""
    if not layers:
        return ()
    rows = table.rows
    able = [state for state in states if all(rows.layer_s[layer][state] != float("inf") for layer in layers)]
    able = [state for state in able if fits(table, Placed(layers, state))]
    if able:
        return (Placed(layers, able[int(stream.integers(len(able)))]),)
    if len(layers) == 1:
        raise InfeasibleError(f"layer {table.layer_names[layers[0]]} runs nowhere")
    half = len(layers) // 2
    return (*_place(table, layers[:half], states, stream), *_place(table, layers[half:], states, stream))


def fits(table: CostTable, placed: Placed) -> bool:
    """The slice keeps its device's ``slice_memory_bytes``."""
    cap = table.rows.slice_memory_bytes[table.rows.state_device[placed.state]]
    return cap == float("inf") or slice_memory(table, placed).total <= cap
