"""Units: layers that every slice takes together, where each device holds one convex set of layers.

A group, with all that lies between its members, is one unit, since a convex set that holds one member of it holds all.
Layers that take no time are joined to a neighbour where that can never raise a device's load; each rule says why. So
the graph of units has far fewer downward-closed sets than the graph of layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Ints
from mosaic_onnx.core.graph.topological import order_by_sources
from mosaic_onnx.planner.core.orders import predecessors


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a cost table; ``V`` of them, in a topological order of their first layers."""

    layers: tuple[tuple[int, ...], ...]
    """[V] the layers of each, ascending."""
    before: tuple[tuple[int, ...], ...]
    """[V] units that make what each reads, ascending."""
    after: tuple[tuple[int, ...], ...]
    """[V] units that read what each makes, ascending."""


@dataclass(frozen=True, eq=False)
class _Ends:
    """Tensors between units; a tensor that one unit makes and no other reads is left out unless it is an output."""

    maker: dict[int, int]
    """tensor -> unit that makes it, -1 for the model's inputs"""
    readers: dict[int, tuple[int, ...]]
    """tensor -> other units that read it"""
    made: list[list[int]]
    """[V] tensors that others need"""
    read: list[list[int]]
    """[V] tensors that others make"""


def units(table: CostTable, *, join_idle: bool) -> Units:
    """Return the units of the table's layers.

    Args:
        table: costs.
        join_idle: also join layers that take no time to others. Only right where memory caps cannot bind, since it
            moves parameters, and where there are no measured segments.
    """
    unit_of = _group_units(table)
    while join_idle:
        joined = _join_idle(table, unit_of)
        if joined is None:
            break
        unit_of = joined
    count = int(unit_of.max()) + 1
    before, after = _neighbours(table, unit_of, count)
    return Units(
        layers=_members(unit_of, count),
        before=tuple(tuple(sorted(units)) for units in before),
        after=tuple(tuple(sorted(units)) for units in after),
    )


def _members(unit_of: Ints, count: int) -> tuple[tuple[int, ...], ...]:
    members: list[list[int]] = [[] for _ in range(count)]
    for layer, unit in enumerate(unit_of.tolist()):
        members[unit].append(layer)
    return tuple(tuple(layers) for layers in members)


def _group_units(table: CostTable) -> Ints:
    """Return [L] unit of each layer: the strong components of the graph in which the members of a group form a ring."""
    edges = [(maker, layer) for layer, makers in enumerate(predecessors(table)) for maker in makers]
    rings: dict[int, list[int]] = {}
    for layer, group in enumerate(table.group.tolist()):
        if group >= 0:
            rings.setdefault(group, []).append(layer)
    for ring in rings.values():
        edges += zip(ring, [*ring[1:], ring[0]], strict=True)
    return _components(edges, len(table.layer_names))


def _components(edges: Iterable[tuple[int, int]], node_count: int) -> Ints:
    """Return [node] its strong component, numbered in a topological order."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array(list(edges), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(node_count, node_count))
    count, label = connected_components(graph, connection="strong")
    crossing = label[ends[:, 0]] != label[ends[:, 1]]
    rank = _topological_rank(label[ends[crossing]], np.asarray(label), int(count))
    unit_of: Ints = rank[label]
    return unit_of


def _topological_rank(edges: Ints, label: Ints, count: int) -> Ints:
    """Return [component] its place in a topological order that keeps to the layers' order where it can."""
    first = np.full(count, len(label), dtype=np.int64)
    np.minimum.at(first, label, np.arange(len(label)))
    before: list[set[int]] = [set() for _ in range(count)]
    for source, destination in edges.tolist():
        before[destination].add(source)
    rank = np.zeros(count, dtype=np.int64)
    rank[list(order_by_sources(before, rank=first.tolist()).positions)] = np.arange(count)
    return rank


def _neighbours(table: CostTable, unit_of: Ints, count: int) -> tuple[list[set[int]], list[set[int]]]:
    """Return [V] units before and after each."""
    before: list[set[int]] = [set() for _ in range(count)]
    after: list[set[int]] = [set() for _ in range(count)]
    for layer, makers in enumerate(predecessors(table)):
        for maker in makers:
            source, destination = int(unit_of[maker]), int(unit_of[layer])
            if source != destination:
                before[destination].add(source)
                after[source].add(destination)
    return before, after


def _ends(table: CostTable, unit_of: Ints, count: int) -> _Ends:
    """Return the tensors between units."""
    ends = _Ends({}, {}, [[] for _ in range(count)], [[] for _ in range(count)])
    for tensor, producer in enumerate(table.producer.tolist()):
        maker = int(unit_of[producer]) if producer >= 0 else -1
        readers = sorted({int(unit_of[reader]) for reader in table.consumers[tensor]} - {maker})
        if not readers and not (table.is_output[tensor] and maker >= 0):
            continue
        ends.maker[tensor] = maker
        ends.readers[tensor] = tuple(readers)
        if maker >= 0:
            ends.made[maker].append(tensor)
        for reader in readers:
            ends.read[reader].append(tensor)
    return ends


def _free_tensors(table: CostTable) -> list[bool]:
    """Return [T] moving it costs nothing anywhere."""
    costs = np.concatenate([table.to_host_s, table.from_host_s], axis=1)
    free: list[bool] = (costs == 0).all(axis=1).tolist()
    return free


def _idle_units(table: CostTable, unit_of: Ints, count: int) -> list[bool]:
    """Return [V] no state that can run it needs any time for it."""
    finite = np.isfinite(table.layer_s)
    takes_time = ((table.layer_s > 0) & finite).any(axis=1)
    idle = np.ones(count, dtype=bool)
    np.logical_and.at(idle, unit_of, ~takes_time)
    return [bool(value) for value in idle]


def _runs_on(table: CostTable, unit_of: Ints, count: int) -> list[frozenset[int]]:
    """Return [V] states that can run all of its layers."""
    possible = np.ones((count, len(table.state_names)), dtype=bool)
    np.logical_and.at(possible, unit_of, np.isfinite(table.layer_s))
    return [frozenset(np.flatnonzero(row).tolist()) for row in possible]


def _join_idle(table: CostTable, unit_of: Ints) -> Ints | None:
    """Return [L] unit of each layer after one round of joining, or None where there is nothing left to join."""
    count = int(unit_of.max()) + 1
    ends = _ends(table, unit_of, count)
    free = _free_tensors(table)
    idle = _idle_units(table, unit_of, count)
    runs_on = _runs_on(table, unit_of, count)
    before, _ = _neighbours(table, unit_of, count)
    into = list(range(count))

    def may_join(unit: int, other: int) -> bool:
        return idle[unit] and before[unit] == {other} and runs_on[other] <= runs_on[unit]

    for unit in range(count):
        # It makes nothing that is paid for: in its only source's slice it costs nothing and spares a copy.
        if len(before[unit]) == 1 and all(free[tensor] for tensor in ends.made[unit]):
            (source,) = before[unit]
            if may_join(unit, source) and all(ends.maker[tensor] >= 0 or free[tensor] for tensor in ends.read[unit]):
                into[unit] = source
    for tensor, readers in ends.readers.items():
        # Were any reader elsewhere, the source would pay for the tensor, which costs as much as all that they make.
        source = ends.maker[tensor]
        if source < 0 or table.is_output[tensor] or free[tensor]:
            continue
        fit = all(
            may_join(unit, source) and all(free[other] for other in ends.read[unit] if other != tensor)
            for unit in readers
        )
        if fit and _costs_cover(table, tensor, [made for unit in readers for made in ends.made[unit]]):
            for unit in readers:
                into[unit] = source
    if into == list(range(count)):
        return None
    return _relabel(np.array([_root(into, unit) for unit in unit_of.tolist()], dtype=np.int64))


def _root(into: Sequence[int], unit: int) -> int:
    while into[unit] != unit:
        unit = into[unit]
    return unit


def _relabel(unit_of: Ints) -> Ints:
    """The same units numbered 0 … V-1 in their order (a joined unit's source comes first, so it stays topological)."""
    return np.unique(unit_of, return_inverse=True)[1].astype(np.int64)


def _costs_cover(table: CostTable, tensor: int, others: Sequence[int]) -> bool:
    """In every state moving the tensor costs at least as much as moving all the others, either way."""
    for cost in (table.to_host_s, table.from_host_s):
        if (cost[list(others)].sum(axis=0) > cost[tensor]).any():
            return False
    return True
