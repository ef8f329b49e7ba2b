"""Exact placement on two states: a minimum cut (Stone 1977), with two auxiliary nodes per tensor of several readers.

Label 0 is the source's side. A tensor made on one side that any reader on the other side needs pays once: an auxiliary
node is forced over by each such reader, and the arc from the maker to it costs the copy. Widths do not matter here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Floats, Ints
from mosaic_onnx.planner.placement.problem import Hub, Placement

if TYPE_CHECKING:
    import scipy.sparse

SCALE = 1 << 28
"""Units of the integer flow: capacities and flows stay well inside scipy's 32 bits."""
ROUNDS = 6
"""Each round leaves about 1e-5 of the flow that the round before left."""


@dataclass(frozen=True)
class _Labels:
    """The choice index of each layer that bears label 0 and 1 (-1 for none), and each label's memory."""

    choice: Ints
    """[L, 2]"""
    tie_groups: bool


def solve_placement(problem: Placement) -> tuple[float, float, Ints] | None:
    """Return a proved lower bound, the placement's cost and [L] its states; None for more than two states.

    The two figures agree to the precision of floating point. The cost is inf where no placement exists.
    """
    if any(len(choices) == 0 for choices in problem.choices):
        return float("inf"), float("inf"), np.zeros(len(problem.choices), dtype=np.int64)
    labels = _labels(problem)
    if labels is None:
        return None
    cut = _Cut(problem, labels)
    bound, cost, on_sink_side = cut.solve()
    picked = labels.choice[np.arange(len(problem.choices)), on_sink_side[: len(problem.choices)].astype(np.int64)]
    states = np.array([choices[at] for choices, at in zip(problem.choices, picked, strict=True)], dtype=np.int64)
    return bound, cost, states


def _labels(problem: Placement) -> _Labels | None:
    """Return two labels that all layers share: two states, or two devices where each layer has one choice on each."""
    states = np.unique(np.concatenate(problem.choices)) if problem.choices else np.zeros(0, dtype=np.int64)
    devices = np.unique(problem.state_device[states])
    if len(states) <= 2:
        key, names = np.arange(len(problem.state_device)), states
    elif len(devices) <= 2:
        key, names = problem.state_device, devices
    else:
        return None
    choice = np.full((len(problem.choices), 2), -1, dtype=np.int64)
    for layer, choices in enumerate(problem.choices):
        for index, state in enumerate(choices):
            label = int(np.searchsorted(names, key[state]))
            if choice[layer, label] >= 0:
                return None  # two levels of one device, neither of them dominated
            choice[layer, label] = index
    return _Labels(choice, tie_groups=len(devices) > 1)


class _Cut:
    """The network: nodes are the layers, then auxiliary nodes, then source and sink (added last)."""

    def __init__(self, problem: Placement, labels: _Labels) -> None:
        self.problem = problem
        self.labels = labels
        self.node_count = len(problem.choices)
        self.constant = problem.constant
        self.unary = np.zeros((self.node_count, 2))
        self.arcs: list[tuple[int, int, float]] = []
        """(from, to, capacity): paid where ``from`` is on the source's side, ``to`` on the sink's; inf forbids it."""
        for layer, costs in enumerate(problem.unary):
            for label in (0, 1):
                at = labels.choice[layer, label]
                self.unary[layer, label] = costs[at] if at >= 0 else np.inf
        for pair, costs in problem.links.items():
            self._add_link(*pair, costs)
        for hub in problem.hubs:
            self._add_hub(hub)
        if labels.tie_groups:
            for group in problem.groups:
                for first, second in pairwise(group):
                    self.arcs += [(first, second, np.inf), (second, first, np.inf)]

    def solve(self) -> tuple[float, float, Floats]:
        """Return the bound, the cut's cost and [nodes] 1 for those on the sink's side."""
        finite = [capacity for _, _, capacity in self.arcs if np.isfinite(capacity)]
        base = np.where(np.isfinite(self.unary), self.unary, 0.0)
        forbidden = 2.0 * (sum(finite) + float(np.abs(base).sum())) + 1.0
        unary = np.where(np.isfinite(self.unary), self.unary, forbidden)
        least = unary.min(axis=1)
        matrix = self._matrix(unary - least[:, None], forbidden)
        flow, cut, sink_side = _minimum_cut(matrix)
        total = self.constant + float(least.sum())
        impossible = cut >= forbidden / 2 or (least >= forbidden).any()
        return total + flow, float("inf") if impossible else total + cut, sink_side

    def _matrix(self, unary: Floats, forbidden: float) -> scipy.sparse.csr_array:
        """Return [nodes + 2, nodes + 2] capacities; the last two nodes are source and sink."""
        from scipy.sparse import coo_array, csr_array

        layers = np.arange(len(unary))
        source, sink = self.node_count, self.node_count + 1
        rows = np.concatenate([np.full(len(unary), source), layers, [arc[0] for arc in self.arcs]])
        columns = np.concatenate([layers, np.full(len(unary), sink), [arc[1] for arc in self.arcs]])
        arcs = np.minimum([arc[2] for arc in self.arcs], forbidden)
        capacities = np.concatenate([unary[:, 1], unary[:, 0], arcs])
        columns = np.where(columns == SINK, sink, columns)
        rows = np.where(rows == SOURCE, source, rows)
        kept = capacities > 0
        shape = (self.node_count + 2, self.node_count + 2)
        where = (rows[kept].astype(np.int32), columns[kept].astype(np.int32))
        return csr_array(coo_array((capacities[kept], where), shape=shape))

    def _add_link(self, first: int, second: int, costs: Floats) -> None:
        rows, columns = self._present(first), self._present(second)
        full = costs[np.ix_(rows, columns)]
        excess = full[0, 1] + full[1, 0] - full[0, 0] - full[1, 1]
        self.constant += full[0, 0]
        self.unary[first, 1] += full[1, 0] - full[0, 0]
        self.unary[second, 1] += full[1, 1] - full[1, 0]
        # Copies and overheads are only paid where the two differ, so less than 0 is rounding.
        self.arcs.append((first, second, max(float(excess), 0.0)))

    def _present(self, layer: int) -> Ints:
        """[2] the choice index of each label; a missing label borrows the other's (its unary cost forbids it)."""
        at = self.labels.choice[layer]
        return np.asarray(np.where(at >= 0, at, at[::-1]))

    def _add_hub(self, hub: Hub) -> None:
        """Charge the copy to the other side once, however many of the readers are there."""
        places = [int(np.searchsorted(hub.places, self._place(label))) for label in (0, 1)]
        only = [1 << places[label] for label in (0, 1)]
        maker: tuple[int, int] = (hub.producer, hub.producer)
        if hub.producer < 0:
            maker, paid = (SOURCE, SINK), [float(hub.cost[0, only[1]]), float(hub.cost[0, only[0]])]
        else:
            rows = self._present(hub.producer)
            stay = [float(hub.cost[rows[label], only[label]]) for label in (0, 1)]
            paid = [float(hub.cost[rows[label], 3]) - stay[label] for label in (0, 1)]
            self.unary[hub.producer] += stay
        crossing, returning = self.node_count, self.node_count + 1
        self.node_count += 2
        self.arcs += [(maker[0], crossing, paid[0]), (returning, maker[1], paid[1])]
        for reader in hub.readers:
            self.arcs += [(crossing, reader, np.inf), (reader, returning, np.inf)]

    def _place(self, label: int) -> int:
        layer = int(np.flatnonzero(self.labels.choice[:, label] >= 0)[0])
        return int(self.problem.state_place[self.problem.choices[layer][self.labels.choice[layer, label]]])


SOURCE, SINK = -1, -2
"""Stand-ins until the number of auxiliary nodes is known."""


def _minimum_cut(capacities: scipy.sparse.csr_array) -> tuple[float, float, Floats]:
    """Maximum flow with real capacities by a few rounds of integer flow, each on what the last rounding left over.

    Returns:
        The flow's value (a lower bound on every cut), the cut's capacity, [nodes] 1 for those on the sink's side.
    """
    from scipy.sparse import csgraph, csr_array

    source, sink = capacities.shape[0] - 2, capacities.shape[0] - 1
    residual, flow = capacities, 0.0
    most = min(float(capacities[[source]].sum()), float(capacities[:, [sink]].sum()))
    sink_side = _unreached(capacities, source)
    cut = float((1.0 - sink_side) @ capacities @ sink_side) if most == 0 else most
    for _ in range(ROUNDS):
        left = cut - flow
        if left <= 1e-13 * most:
            break
        unit = 2.0 * left / SCALE
        whole = residual.copy()  # an arc of twice the flow that is left can be in no minimum cut: clip it there
        whole.data = np.floor(np.minimum(residual.data, 2.0 * left) / unit).astype(np.int32)
        step = csgraph.maximum_flow(whole, source, sink)
        flow += step.flow_value * unit
        residual = csr_array(residual - csr_array(step.flow) * unit)
        residual.data = np.maximum(residual.data, 0.0)
        side = _unreached(whole - step.flow, source)
        found = float((1.0 - side) @ capacities @ side)
        if found <= cut:
            cut, sink_side = found, side
    return min(flow, cut), cut, sink_side


def _unreached(capacities: scipy.sparse.csr_array, source: int) -> Floats:
    """Return [nodes] 1 for those that no path of positive capacities joins to the source."""
    from scipy.sparse import csgraph, csr_array

    positive = csr_array(capacities)
    positive.data = (positive.data > 0).astype(np.int8)
    positive.eliminate_zeros()
    side = np.ones(positive.shape[0])
    side[csgraph.breadth_first_order(positive, source, return_predecessors=False)] = 0.0
    return side
