"""The placement problem as a 0/1 linear program, for solvers: any width, and linear side constraints.

Columns: one per choice of each layer; per link one for each pair of choices; per hub one for each pair of the maker's
choice and a memory reached from there, and one for each maker's choice from where host is reached. Only the layers'
columns need be whole: with them fixed, the others are 0 or 1 in some optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Floats, Ints
from mosaic_onnx.planner.placement.problem import Hub, Placement

if TYPE_CHECKING:
    import scipy.sparse

RELATIVE_TOLERANCE = 1e-6
"""Tolerance of the solver's bound; proved bounds are lowered by it."""


@dataclass(frozen=True)
class SideConstraint:
    """Σ over layers of ``unary[l][choice]`` + links + hubs of ``problem`` <= ``limit``: a cap, deadline or budget."""

    problem: Placement
    limit: float


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Minimise ``cost`` · x with ``lower`` <= ``matrix`` x <= ``upper``, x between 0 and 1.

    Attributes:
        cost: [columns]
        matrix: [rows, columns]
        lower: [rows]
        upper: [rows]
        layer_columns: [L] the first column of each layer's choices.
        whole_count: the first so many columns are the layers' and must be whole.
        constant: added to the cost.
    """

    cost: Floats
    matrix: scipy.sparse.csr_array
    lower: Floats
    upper: Floats
    layer_columns: Ints
    whole_count: int
    constant: float

    def states(self, problem: Placement, solution: Floats) -> Ints:
        """Return [L] the state with the largest share of each layer."""
        ends = [*self.layer_columns[1:], self.whole_count]
        return np.array(
            [
                choices[int(np.argmax(solution[begin:end]))]
                for choices, begin, end in zip(problem.choices, self.layer_columns, ends, strict=True)
            ],
            dtype=np.int64,
        )


@dataclass(frozen=True)
class Solved:
    """Answer of a solver: a proved lower bound, and the states of the best placement found (None where none was)."""

    bound: float
    states: Ints | None
    optimal: bool


@dataclass
class _Rows:
    """Sparse rows while they are collected."""

    row: list[int] = field(default_factory=list)
    column: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)

    def add(self, columns: Sequence[int], values: Sequence[float], lower: float, upper: float) -> None:
        self.row += [len(self.lower)] * len(columns)
        self.column += columns
        self.value += values
        self.lower.append(lower)
        self.upper.append(upper)


def linear_model(problem: Placement, sides: Sequence[SideConstraint] = ()) -> LinearModel:
    """Return the problem's linear program; every layer must have a choice."""
    from scipy.sparse import csr_array

    counts = [len(choices) for choices in problem.choices]
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    rows = _Rows()
    for begin, end in pairwise(first):
        rows.add(list(range(begin, end)), [1.0] * int(end - begin), 1.0, 1.0)
    column = int(first[-1])
    for (u, v), table in problem.links.items():
        grid = column + np.arange(table.size).reshape(table.shape)
        column += table.size
        for index, line in enumerate(grid):
            _equal(rows, line, [int(first[u]) + index])
        for index, line in enumerate(grid.T):
            _equal(rows, line, [int(first[v]) + index])
    for hub in problem.hubs:
        column = _add_hub(rows, hub, first, column, problem)
    _add_groups(rows, problem, first)
    cost = _costs(problem)
    for side in sides:
        weights = _costs(side.problem)
        used = np.flatnonzero(weights)
        rows.add(used.tolist(), weights[used].tolist(), -np.inf, side.limit - side.problem.constant)
    matrix = csr_array((rows.value, (rows.row, rows.column)), shape=(len(rows.lower), column))
    return LinearModel(
        cost, matrix, np.array(rows.lower), np.array(rows.upper), first[:-1], int(first[-1]), problem.constant
    )


def solve_mixed(model: LinearModel, problem: Placement, time_limit_s: float, whole: bool = True) -> Solved:
    """Solve with HiGHS, which scipy holds; ``whole=False`` solves the relaxation only, for its bound."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    scale = float(np.abs(model.cost).max(initial=0.0)) or 1.0
    result = milp(
        model.cost / scale,
        integrality=np.where(np.arange(len(model.cost)) < model.whole_count, 1, 0) if whole else None,
        bounds=Bounds(0.0, 1.0),
        constraints=LinearConstraint(model.matrix, model.lower, model.upper),
        options={"time_limit": max(time_limit_s, 0.05), "mip_rel_gap": RELATIVE_TOLERANCE},
    )
    if result.status == 2:
        return Solved(float("inf"), None, optimal=True)
    bound = result.mip_dual_bound if whole else result.fun
    if bound is None or not np.isfinite(bound):
        return Solved(0.0, None, optimal=False)
    total = float(bound) * scale + model.constant
    states = None if result.x is None else model.states(problem, result.x)
    return Solved(total - RELATIVE_TOLERANCE * abs(total), states, optimal=result.status == 0)


def _equal(rows: _Rows, parts: Sequence[int] | Ints, whole: Sequence[int]) -> None:
    """Σ parts = Σ whole."""
    rows.add([*map(int, parts), *whole], [1.0] * len(parts) + [-1.0] * len(whole), 0.0, 0.0)


def _add_hub(rows: _Rows, hub: Hub, first: Ints, column: int, problem: Placement) -> int:
    """Columns: (maker's choice, place) reached from afar, then the maker's choices gone by host; the next free column.

    A reader in a place needs the maker there, or the place reached; a place reached by host needs the way to host.
    """
    grid = column + np.arange(hub.arrival.size).reshape(hub.arrival.shape)
    host = column + hub.arrival.size + np.arange(len(hub.to_host))
    for choice, bit in zip(*np.nonzero(hub.by_host), strict=True):
        rows.add([int(grid[choice, bit]), int(host[choice])], [1.0, -1.0], -np.inf, 0.0)
    if hub.producer >= 0:
        made = problem.state_place[problem.choices[hub.producer]]
        for choice, columns in enumerate(np.column_stack([grid, host])):
            for one in columns:
                rows.add([int(one), int(first[hub.producer]) + choice], [1.0, -1.0], -np.inf, 0.0)
    for bit, place in enumerate(hub.places):
        giving = grid[:, bit].copy()
        if hub.producer >= 0:
            giving = np.where(made == place, first[hub.producer] + np.arange(len(made)), giving)
        for reader in hub.readers:
            there = np.flatnonzero(problem.state_place[problem.choices[reader]] == place)
            if len(there):
                needing = (first[reader] + there).tolist()
                rows.add([*needing, *giving.tolist()], [1.0] * len(needing) + [-1.0] * len(giving), -np.inf, 0.0)
    return column + grid.size + host.size


def _add_groups(rows: _Rows, problem: Placement, first: Ints) -> None:
    """Each layer of a group is on a device as much as the group's first layer is."""
    for group in problem.groups:
        devices = [problem.state_device[problem.choices[layer]] for layer in group]
        for device in np.unique(np.concatenate(devices)):
            at = [
                (first[layer] + np.flatnonzero(own == device)).tolist()
                for layer, own in zip(group, devices, strict=True)
            ]
            for other in at[1:]:
                _equal(rows, other, at[0])


def _costs(problem: Placement) -> Floats:
    """Return [columns] in the order of ``linear_model``."""
    parts = [*problem.unary, *(table.ravel() for table in problem.links.values())]
    for hub in problem.hubs:
        parts += [hub.arrival.ravel(), hub.to_host]
    return np.concatenate(parts) if parts else np.zeros(0)
