"""Ground truth for small graphs, written apart from the planner: every placement, every plan."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal
from mosaic_onnx.planner.core.simulate import Timeline, simulate


def placement_costs(table: CostTable) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """[N, L] every placement and [N] its seconds: layers and resident copies, nothing else."""
    layer_count, state_count = table.layer_s.shape
    states = np.array(list(product(range(state_count), repeat=layer_count)), dtype=np.int64)
    seconds = sum(table.layer_s[layer, states[:, layer]] for layer in range(layer_count)) + np.zeros(len(states))
    device = table.state_device[states]
    for tensor in range(len(table.tensor_names)):
        seconds += _tensor_seconds(table, tensor, states, device)
    for group in set(table.group[table.group >= 0].tolist()):
        members = np.flatnonzero(table.group == group)
        seconds[(device[:, members] != device[:, members[:1]]).any(axis=1)] = np.inf
    return states, seconds


def _tensor_seconds(
    table: CostTable, tensor: int, states: NDArray[np.int64], device: NDArray[np.int64]
) -> NDArray[np.float64]:
    maker, total = int(table.producer[tensor]), np.zeros(len(states))
    readers = list(table.consumers[tensor])
    home = device[:, maker] if maker >= 0 else np.full(len(states), -1)
    at_home_in_host = (home < 0) | ~table.own_memory[home]
    needs_host = np.full(len(states), bool(table.is_output[tensor]))
    for reader in readers:
        needs_host |= ~table.own_memory[device[:, reader]]
    for target in np.flatnonzero(table.own_memory):
        first = int(np.flatnonzero(table.state_device == target)[0])
        reading = (device[:, readers] == target).any(axis=1) & (home != target)
        direct = np.zeros(len(states), dtype=bool)
        if maker >= 0:
            for source in range(len(table.state_names)):
                if table.straight_s(tensor, source, first) is not None:
                    straight = reading & (states[:, maker] == source)
                    total[straight] += table.direct_s[source, first][tensor]
                    direct |= straight
        total += np.where(reading & ~direct, table.from_host_s[tensor, first], 0.0)
        needs_host |= reading & ~direct
    if maker >= 0:
        total += np.where(needs_host & ~at_home_in_host, table.to_host_s[tensor, states[:, maker]], 0.0)
    return total


def every_plan(table: CostTable) -> Iterator[tuple[Proposal, Timeline]]:
    """All sequential plans that can run: all orders, all cuts, all states."""
    for order in orders(table):
        for cuts in product((False, True), repeat=max(len(order) - 1, 0)):
            slices: list[list[int]] = [[order[0]]]
            for layer, cut in zip(order[1:], cuts, strict=True):
                if cut:
                    slices.append([layer])
                else:
                    slices[-1].append(layer)
            choices = [np.flatnonzero(np.isfinite(table.layer_s[layers]).all(axis=0)) for layers in slices]
            for states in product(*choices):
                proposal = tuple(PlacedSlice(tuple(a), int(s)) for a, s in zip(slices, states, strict=True))
                try:
                    yield proposal, simulate(table, proposal)
                except InfeasibleError:
                    continue


def orders(table: CostTable) -> Iterator[tuple[int, ...]]:
    """All topological orders."""

    def extend(order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(order) == len(table.layer_names):
            yield order
        for layer in set(range(len(table.layer_names))) - set(order):
            makers = {int(table.producer[t]) for t in table.layer_inputs[layer]} - {-1}
            if makers <= set(order):
                yield from extend((*order, layer))

    return extend(())


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other point beats in both, equal ones (up to rounding) once, by rising first coordinate."""
    kept: list[tuple[float, float]] = []
    for point in sorted(points):
        if kept and np.isclose(point[0], kept[-1][0], rtol=1e-9) and point[1] < kept[-1][1]:
            kept[-1] = point
        elif not kept or point[1] < kept[-1][1] * (1 - 1e-9):
            kept.append(point)
    return kept
