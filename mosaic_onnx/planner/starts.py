"""Plans to start from: a placement along an order that it implies, and each state for all layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mosaic_onnx.costs import CostTable, Ints
from mosaic_onnx.planner.floors import possible_states
from mosaic_onnx.planner.orders import file_order, implied_order
from mosaic_onnx.planner.request import Placed, Proposal
from mosaic_onnx.planner.windows import first_layers


def runs(table: CostTable, order: Sequence[int], states: Ints) -> Proposal:
    """The slices of a placement along an order: cut where the state changes, and where a cap is reached."""
    first = first_layers(table, order)
    slices: list[Placed] = []
    begin = 0
    for place, layer in enumerate(order):
        state = int(states[layer])
        full = state in first and first[state][place] > begin
        if place > begin and (state != states[order[begin]] or full):
            slices.append(Placed(tuple(order[begin:place]), int(states[order[begin]])))
            begin = place
    if order:
        slices.append(Placed(tuple(order[begin:]), int(states[order[begin]])))
    return tuple(slices)


def implied_plans(table: CostTable, placements: Sequence[Ints]) -> list[Proposal]:
    """Each placement along the orders that it implies, and along the file's."""
    plans = []
    for states in placements:
        orders = [implied_order(table, states), implied_order(table, states, by_size=True), file_order(table)]
        plans += [runs(table, order, states) for order in dict.fromkeys(orders)]
    return plans


def one_state_plans(table: CostTable) -> list[Proposal]:
    """All layers in one state, for each state that can run them all."""
    able = np.flatnonzero(possible_states(table).all(axis=0))
    order = file_order(table)
    return [runs(table, order, np.full(len(order), state)) for state in able] if order else []
