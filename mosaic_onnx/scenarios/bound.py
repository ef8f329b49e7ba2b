"""A lower bound of the least period multiplier that any schedule could satisfy, by a linear program over loads.

For each model ``m`` let ``e`` be the share of its frames that complete in time to count and ``x[l, u]`` the share of
its frames whose layer ``l`` runs on unit ``u``. Each layer of a frame that counts runs somewhere: Σ_u x[l, u] = e. No
unit works longer than from the first arrival to the last deadline plus ``_LATENESS_S`` (a frame that is later still
counts for nothing). The score is at most what the shares allow. The least multiplier under these constraints is a
lower bound whatever the slices, copies, priorities and policies. So is each model's fastest way through its layers
against its deadline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.simulation.arrivals import request_counts
from mosaic_onnx.scenarios.simulation.score import SATISFIED_SCORE, STEEPNESS_PER_MS

if TYPE_CHECKING:
    from scipy.sparse import coo_array

_LATENESS_S = 0.6e-3
_UNCOUNTED = 1.0 / (1.0 + math.exp(STEEPNESS_PER_MS * _LATENESS_S * 1e3))
"""The largest weight of a frame after the window."""
_MARGIN = 1e-7
"""The program's figure is lowered by this share, more than the solver's tolerance."""


@dataclass(frozen=True)
class MultiplierBound:
    """A proved lower bound of α*.

    Attributes:
        value: no schedule of the scenario is satisfied at a smaller multiplier.
        method: how it was proved.
    """

    value: float
    method: str


def multiplier_bound(instance: Instance) -> MultiplierBound:
    """Return the larger of the bound by loads and the bound by critical paths."""
    loads = _load_bound(instance)
    paths = _path_bound(instance)
    return MultiplierBound(loads, "device loads") if loads >= paths else MultiplierBound(paths, "critical path")


def floor_seconds(table: CostTable) -> Floats:
    """Return [L, S] seconds that a layer certainly adds to any slice; inf where the state cannot run it.

    Its own, or, where a measured slice is faster than the sum of its layers, that share of it.
    """
    floor = table.layer_s.copy()
    for (first, last, state), (seconds, _) in table.segments.items():
        layers = slice(first, last + 1)
        total = float(table.layer_s[layers, state].sum())
        if math.isfinite(total) and total > 0:
            share = seconds / total * table.layer_s[layers, state]
            floor[layers, state] = np.minimum(floor[layers, state], share)
    return floor


def unit_seconds(instance: Instance, model: int) -> Floats:
    """Return [L, U] least seconds of each layer on each unit; inf where none of its states can run it."""
    floor = floor_seconds(instance.models[model].table)
    best = np.full((len(floor), len(instance.unit_names)), np.inf)
    for state, unit in enumerate(instance.unit_of_state):
        best[:, unit] = np.minimum(best[:, unit], floor[:, state])
    return best


def needed_scores(instance: Instance) -> list[float]:
    """Return [M] the least score of each model in a satisfied run: what is lacking if all others have 1."""
    weights = np.array([instance.groups[model.group].weight for model in instance.models])
    shares = weights / weights.sum()
    return [max(0.0, 1.0 - (1.0 - SATISFIED_SCORE / 100.0) / share) for share in shares.tolist()]


def _path_bound(instance: Instance) -> float:
    """Return each frame that counts takes its model's fastest way through its layers."""
    best = 0.0
    for m, (model, needed) in enumerate(zip(instance.models, needed_scores(instance), strict=True)):
        if needed <= 0:
            continue
        early_s = math.log(needed / (1.0 - needed)) / STEEPNESS_PER_MS / 1e3
        path_s = _critical_path(model.table, unit_seconds(instance, m).min(axis=1).tolist())
        best = max(best, (path_s + early_s) / instance.groups[model.group].deadline_s)
    return best * (1 - _MARGIN)


def _critical_path(table: CostTable, seconds: list[float]) -> float:
    """Return the longest way through the layers."""
    end = [0.0] * len(seconds)
    for layer, inputs in enumerate(table.layer_inputs):
        makers = (table.rows.producer[tensor] for tensor in inputs)
        end[layer] = seconds[layer] + max((end[maker] for maker in makers if maker >= 0), default=0.0)
    return max(end, default=0.0)


def _load_bound(instance: Instance) -> float:
    """Return the linear program; its variables: x[m, l, u] where finite, e[m], α."""
    from scipy.optimize import linprog

    counts = request_counts(instance.scenario)
    costs = [unit_seconds(instance, m) for m in range(len(instance.models))]
    sizes = [int(np.isfinite(cost).sum()) for cost in costs]
    shares_at = sum(sizes)
    alpha_at = shares_at + len(costs)
    rows = _Rows(alpha_at + 1)
    offset = equal_row = 0
    for m, cost in enumerate(costs):
        layer, unit = np.nonzero(np.isfinite(cost))
        columns = offset + np.arange(len(layer))
        frame_count = counts[instance.models[m].group]
        rows.add_equal(equal_row + layer, columns, np.ones(len(layer)))
        rows.add_equal(equal_row + np.arange(len(cost)), np.full(len(cost), shares_at + m), -np.ones(len(cost)))
        rows.add_upper(unit, columns, cost[layer, unit] * frame_count)
        offset, equal_row = offset + sizes[m], equal_row + len(cost)
    fixed_s, per_alpha_s = _window(instance, counts)
    units = np.arange(len(instance.unit_names))
    rows.add_upper(units, np.full(len(units), alpha_at), np.full(len(units), -per_alpha_s))
    limits = [fixed_s] * len(units)
    limits.append(_score_row(instance, rows, len(units), shares_at))
    objective = np.zeros(alpha_at + 1)
    objective[alpha_at] = 1.0
    least = needed_scores(instance)
    bounds = [(0.0, None)] * shares_at + [(max(0.0, share - _UNCOUNTED), 1.0) for share in least] + [(0.0, None)]
    found = linprog(
        objective,
        A_ub=rows.upper(len(limits)),
        b_ub=limits,
        A_eq=rows.equal(equal_row),
        b_eq=np.zeros(equal_row),
        bounds=bounds,
        method="highs",
    )
    return max(0.0, float(found.fun)) * (1 - _MARGIN) if found.success else 0.0


def _window(instance: Instance, counts: tuple[int, ...]) -> tuple[float, float]:
    """Return seconds from the first arrival to when frames stop counting: (those that do not scale, per multiplier)."""
    per_alpha_s = max(
        (count - 1) * group.period_s + group.deadline_s for group, count in zip(instance.groups, counts, strict=True)
    )
    return max(group.jitter_s for group in instance.groups) + _LATENESS_S, per_alpha_s


def _score_row(instance: Instance, rows: _Rows, row: int, shares_at: int) -> float:
    """Add what the score asks of the shares; the limit of that row.

    A model's score is at most e (not e²: a frame that begins and never ends is not dropped), but for frames after the
    window, each of which counts for at most 1 / (1 + exp(15 · lateness)).
    """
    weights = np.array([instance.groups[model.group].weight for model in instance.models])
    weights = weights / weights.sum()
    needed = SATISFIED_SCORE / 100.0 - _UNCOUNTED
    for m, weight in enumerate(weights.tolist()):
        rows.add_upper(np.array([row]), np.array([shares_at + m]), np.array([-weight]))
    return -needed


class _Rows:
    """Sparse rows of the program, gathered piece by piece."""

    def __init__(self, column_count: int) -> None:
        self._column_count = column_count
        self._upper: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._equal: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add_upper(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        """Add entries to the inequalities."""
        self._upper.append((rows, columns, values))

    def add_equal(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        """Add entries to the equations."""
        self._equal.append((rows, columns, values))

    def upper(self, row_count: int) -> coo_array:
        """Return the inequalities' matrix."""
        return self._matrix(self._upper, row_count)

    def equal(self, row_count: int) -> coo_array:
        """Return the equations' matrix."""
        return self._matrix(self._equal, row_count)

    def _matrix(self, pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]], row_count: int) -> coo_array:
        from scipy.sparse import coo_array

        rows, columns, values = (np.concatenate(part) for part in zip(*pieces, strict=True))
        return coo_array((values, (rows, columns)), shape=(row_count, self._column_count))
