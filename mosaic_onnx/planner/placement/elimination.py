"""Exact placement by variable elimination: a dynamic program along a tree decomposition of the graph.

A tensor with several readers is a variable of its own (the set of memories it must reach), so each reader is tied to
it by a pair term only and a tensor with many readers does not widen the decomposition (Dechter 1999, bucket
elimination; the elimination order is the greedy one by table size, then fill).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mosaic_onnx.core.cost_tables.costs import Floats, Ints
from mosaic_onnx.planner.core.deadline import EVERY, FOREVER, check_time, timed
from mosaic_onnx.planner.placement.problem import Placement

TABLE_LIMIT = 1 << 23
"""Entries of the largest table that elimination may build (64 MiB)."""
TOTAL_LIMIT = 1 << 27
"""Entries of all tables together, as a guard on time."""


PLACE_LIMIT = 10
"""Memories that one tensor may have to reach; the sets of them are a variable's values."""


@dataclass(frozen=True, eq=False)
class Factor:
    """One term of the sum: a table over the variables of its scope (axes in the scope's order)."""

    scope: tuple[int, ...]
    table: Floats


def solve_placement(
    problem: Placement, table_limit: int = TABLE_LIMIT, until: float = FOREVER
) -> tuple[float, Ints] | None:
    """Return the least placement cost and [L] its states; None where the graph is too wide for tables of that size.

    The value is inf where no placement exists; the states then mean nothing.

    Raises:
        TimeUpError: it took longer than ``until``.
    """
    if any(len(choices) == 0 for choices in problem.choices):
        return float("inf"), np.zeros(len(problem.choices), dtype=np.int64)
    prepared = prepare(problem, table_limit, until)
    return None if prepared is None else prepared.solve(problem.unary, until)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A placement problem with its elimination order, to be solved for several costs of the layers."""

    problem: Placement
    sizes: list[int]
    factors: list[Factor]
    """those of the layers' own costs left out"""
    order: list[int]

    def solve(self, unary: Sequence[Floats], until: float = FOREVER) -> tuple[float, Ints]:
        """Return the least cost and [L] its states with other costs of the layers.

        Args:
            unary: [L] arrays as in the problem, of the same sizes.
            until: ``time.monotonic()`` at which to give up.

        Raises:
            TimeUpError: it took longer.
        """
        own = [Factor((layer,), costs) for layer, costs in enumerate(unary)]
        least, picked = minimise(self.sizes, [*own, *self.factors], self.order, until)
        states = np.array(
            [choices[picked[layer]] for layer, choices in enumerate(self.problem.choices)], dtype=np.int64
        )
        return least + self.problem.constant, states


def prepare(problem: Placement, table_limit: int = TABLE_LIMIT, until: float = FOREVER) -> Prepared | None:
    """Return the problem ready to be solved; None where the graph is too wide, or a layer has no state.

    Raises:
        TimeUpError: it took longer than ``until``.
    """
    if any(len(choices) == 0 for choices in problem.choices):
        return None
    if any(len(hub.places) > PLACE_LIMIT for hub in problem.hubs):
        return None
    sizes, factors = factors_of(problem)
    order = elimination_order(sizes, [factor.scope for factor in factors], table_limit, until)
    return None if order is None else Prepared(problem, sizes, factors[len(problem.choices) :], order)


def factors_of(problem: Placement) -> tuple[list[int], list[Factor]]:
    """The problem as a sum of tables: variables are the layers, then the hubs' place sets, then the groups' devices."""
    sizes = [len(choices) for choices in problem.choices]
    factors = [Factor((layer,), costs) for layer, costs in enumerate(problem.unary)]
    factors += [Factor(pair, costs) for pair, costs in problem.links.items()]
    for hub in problem.hubs:
        variable = len(sizes)
        sizes.append((1 << len(hub.places)) - 1)  # the empty set is of no use
        table = hub.cost[:, 1:]
        factors.append(Factor((hub.producer, variable), table) if hub.producer >= 0 else Factor((variable,), table[0]))
        for reader in hub.readers:
            bits = np.searchsorted(hub.places, problem.state_place[problem.choices[reader]])
            missing = (np.arange(1, sizes[variable] + 1)[None, :] >> bits[:, None]) & 1 == 0
            factors.append(Factor((reader, variable), np.where(missing, np.inf, 0.0)))
    for group in problem.groups:
        devices = sorted({int(d) for layer in group for d in problem.state_device[problem.choices[layer]]})
        variable = len(sizes)
        sizes.append(len(devices))
        for layer in group:
            own = problem.state_device[problem.choices[layer]]
            factors.append(Factor((layer, variable), np.where(own[:, None] == devices, 0.0, np.inf)))
    return sizes, factors


def elimination_order(
    sizes: Sequence[int],
    scopes: Sequence[tuple[int, ...]],
    table_limit: int = TABLE_LIMIT,
    until: float = FOREVER,
) -> list[int] | None:
    """Greedily eliminate the variable whose table is smallest, of these the one that ties fewest new pairs.

    Returns:
        The order; None where a table would have more entries than the limit, or all tables more than ``TOTAL_LIMIT``.
    """
    neighbours = _neighbours(len(sizes), scopes)
    bits = np.log2(np.maximum(sizes, 1)).tolist()

    def rank(variable: int) -> tuple[float, int, int]:
        around = neighbours[variable]
        weight = round(bits[variable] + sum([bits[other] for other in around]), 6)
        fill = sum([len(around) - 1 - len(around & neighbours[other]) for other in around])
        return weight, fill, variable

    waiting = [rank(variable) for variable in timed(range(len(sizes)), until)]
    current = dict(enumerate(waiting))
    heapq.heapify(waiting)
    order: list[int] = []
    total = 0.0
    steps = 0
    while waiting:
        steps += 1
        if not steps % EVERY:
            check_time(until)
        entry = heapq.heappop(waiting)
        variable = entry[2]
        if current.get(variable) != entry:
            continue
        del current[variable]
        order.append(variable)
        entries = 2.0 ** entry[0]
        total += entries
        if entries > table_limit or total > TOTAL_LIMIT:
            return None
        around = neighbours[variable]
        for other in around:
            neighbours[other] |= around
            neighbours[other] -= {variable, other}
        for other in around:
            current[other] = rank(other)
            heapq.heappush(waiting, current[other])
    return order


def _neighbours(count: int, scopes: Sequence[tuple[int, ...]]) -> list[set[int]]:
    """For each variable the others that it shares a table with."""
    neighbours: list[set[int]] = [set() for _ in range(count)]
    for scope in scopes:
        for variable in scope:
            neighbours[variable].update(other for other in scope if other != variable)
    return neighbours


def minimise(
    sizes: Sequence[int], factors: Sequence[Factor], order: Sequence[int], until: float = FOREVER
) -> tuple[float, list[int]]:
    """The least sum of the factors over all assignments, and an assignment that reaches it (index per variable)."""
    buckets: list[list[Factor]] = [[] for _ in sizes]
    turn = {variable: index for index, variable in enumerate(order)}
    constant = 0.0
    for factor in factors:
        buckets[min(factor.scope, key=turn.__getitem__)].append(factor)
    best: list[tuple[tuple[int, ...], NDArray[np.integer]]] = []
    for variable in timed(order, until):
        scope = tuple(sorted({other for factor in buckets[variable] for other in factor.scope} - {variable}))
        table = table_sum((*scope, variable), sizes, buckets[variable])
        best.append((scope, table.argmin(axis=-1).astype(np.min_scalar_type(sizes[variable]))))
        least = table.min(axis=-1)
        if scope:
            buckets[min(scope, key=turn.__getitem__)].append(Factor(scope, least))
        else:
            constant += float(least)
        buckets[variable] = []
    picked = [0] * len(sizes)
    for variable, (scope, choice) in zip(reversed(order), reversed(best), strict=True):
        picked[variable] = int(choice[tuple(picked[other] for other in scope)])
    return constant, picked


def table_sum(scope: tuple[int, ...], sizes: Sequence[int], factors: Sequence[Factor]) -> Floats:
    """Add tables over different variables up to one table with one axis per variable of the scope."""
    axis = {variable: index for index, variable in enumerate(scope)}
    total: Floats = np.zeros([sizes[variable] for variable in scope])
    for factor in factors:
        ranks = [axis[variable] for variable in factor.scope]
        shape = [1] * len(scope)
        for variable, rank in zip(factor.scope, ranks, strict=True):
            shape[rank] = sizes[variable]
        total += factor.table.transpose(np.argsort(ranks)).reshape(shape)
    return total
