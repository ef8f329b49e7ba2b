"""A chain's costs as the interval programs want them: what a layer costs, what a cut costs.

On a chain every tensor is read by the layer right after its maker, or by nobody, and no input of the model is read
twice. Then the cost of a plan is a sum over layers, plus a sum over cuts that depends only on the states on both
sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.planner.core.memory_windows import first_layers
from mosaic_onnx.planner.core.objective_weights import Weighed

INF = float("inf")


class MeasuredSlice(NamedTuple):
    """A segment, in places along the chain."""

    first: int
    cost: float
    """Its execution and what its layers copy wherever the cuts are."""


@dataclass(frozen=True)
class ChainCosts:
    """Costs along a chain, as plain lists; places count along the chain's order.

    A slice costs Σ ``node`` and the cut before it: ``per_slice`` where both sides are one device that ``keeps`` its
    tensors, ``per_slice`` + ``direct`` where there is that, else ``leaving`` + ``entering``.
    """

    order: tuple[int, ...]
    """[L] the layer at each place."""
    node: list[list[float]]
    """[L][S] execution, plus copies that do not depend on the cuts: model inputs in, model outputs out."""
    leaving: list[list[float]]
    """[L][S] to bring what the next layer reads from a layer's state to host."""
    entering: list[list[float]]
    """[L][S] to begin a slice at a layer: what it reads of the one before from host, and ``per_slice``."""
    per_slice: list[float]
    """[S] added once per slice that was not measured as a whole."""
    keeps: list[tuple[int, int]]
    """Ranges of states (first, one after the last) of devices with own memory that keep what they have."""
    direct: dict[int, dict[int, list[float]]]
    """destination state -> source state -> [L] cost of bringing over what a layer reads of the one before: directly, or
    by way of host for the tensors that go there."""
    windows: dict[int, list[int]]
    """capped state -> [L] first place of the longest slice that ends there and fits."""
    measured: dict[tuple[int, int], list[MeasuredSlice]] = field(default_factory=dict)
    """(state, last place) -> the segments that end there."""

    def cuts_into(self, j: int, state: int) -> list[float]:
        """Return [S] what beginning a slice at place ``j`` in one state costs, by the state that comes before."""
        into = self.entering[j][state]
        costs = [out + into for out in self.leaving[j - 1]]
        for other, direct in self.direct.get(state, {}).items():
            costs[other] = direct[j] + self.per_slice[state]
        for first, end in self.keeps:
            if first <= state < end:
                costs[first:end] = [self.per_slice[state]] * (end - first)
        return costs

    @property
    def queued(self) -> list[int]:
        """Return states whose best slice start depends on where the slice ends."""
        return sorted(set(self.windows) | {state for state, _ in self.measured})


def is_chain(table: CostTable, order: Sequence[int]) -> bool:
    """Return whether the layers form a chain along this order."""
    rows = table.rows
    place = {layer: at for at, layer in enumerate(order)}
    for tensor, readers in enumerate(table.consumers):
        maker = rows.producer[tensor]
        if len(readers) > 1 or (maker >= 0 and any(place[reader] != place[maker] + 1 for reader in readers)):
            return False
    return True


def is_tight(table: CostTable) -> bool:
    """Return whether every layer reads something of the one before it, so that the list's order is the only one."""
    rows = table.rows
    return all(
        any(rows.producer[tensor] == layer - 1 for tensor in inputs)
        for layer, inputs in enumerate(table.layer_inputs)
        if layer > 0
    )


def chain_costs(table: CostTable, weighed: Weighed, order: Sequence[int]) -> ChainCosts:
    """Return the costs of a chain along ``order`` (see ``is_chain``)."""
    rows = table.rows
    places = list(order)
    place = {layer: at for at, layer in enumerate(places)}
    made = [t for t, layer in enumerate(rows.producer) if layer >= 0]
    sent = [t for t in made if rows.is_output[t]]
    crossing = [t for t in made if table.consumers[t]]
    given = [t for t, layer in enumerate(rows.producer) if layer < 0 and table.consumers[t]]
    copies = np.zeros((len(places), len(table.state_names)))
    _add(copies, [place[rows.producer[t]] for t in sent], weighed.to_host, sent)
    _add(copies, [place[table.consumers[t][0]] for t in given], weighed.from_host, given)
    leaving, entering = np.zeros_like(copies), np.zeros_like(copies)
    out = [t for t in crossing if not rows.is_output[t]]
    _add(leaving, [place[rows.producer[t]] for t in out], weighed.to_host, out)
    _add(entering, [place[table.consumers[t][0]] for t in crossing], weighed.from_host, crossing)
    per_slice = weighed.slice[table.state_device]
    direct: dict[int, dict[int, list[float]]] = {}
    for (source, destination), costs in weighed.direct.items():
        summed = np.zeros(len(places))
        by_host = np.where(table.is_output, 0.0, weighed.to_host[:, source]) + weighed.from_host[:, destination]
        ways = np.where(np.isfinite(costs), costs, by_host)
        np.add.at(summed, [place[table.consumers[t][0]] for t in crossing], ways[crossing])
        direct.setdefault(destination, {})[source] = summed.tolist()
    return ChainCosts(
        order=tuple(places),
        node=(weighed.layer[places] + copies).tolist(),
        leaving=leaving.tolist(),
        entering=(entering + per_slice).tolist(),
        per_slice=per_slice.tolist(),
        keeps=_keeps(table),
        direct=direct,
        windows=first_layers(table, places),
        measured=_measured(weighed, places, place, copies) if weighed.segments else {},
    )


def _add(rows: Floats, at: list[int], costs: Floats, tensors: list[int]) -> None:
    """Add each tensor's row of costs to the row of its place."""
    if tensors:
        np.add.at(rows, at, costs[tensors])


def _keeps(table: CostTable) -> list[tuple[int, int]]:
    """Ranges of states of resident devices with own memory."""
    rows = table.rows
    ranges = []
    for device in range(len(table.device_names)):
        if rows.own_memory[device] and not rows.io_host[device]:
            first = rows.state_device.index(device)
            ranges.append((first, first + rows.state_device.count(device)))
    return ranges


def _measured(
    weighed: Weighed, places: list[int], place: dict[int, int], copies: Floats
) -> dict[tuple[int, int], list[MeasuredSlice]]:
    """Return the segments whose layers stand side by side, in list order, along the chain's order."""
    found: dict[tuple[int, int], list[MeasuredSlice]] = {}
    for (first, last, state), cost in weighed.segments.items():
        start, end = place[first], place[first] + last - first
        if places[start : end + 1] == list(range(first, last + 1)):
            whole = cost + float(copies[start : end + 1, state].sum())
            found.setdefault((state, end), []).append(MeasuredSlice(start, whole))
    return found
