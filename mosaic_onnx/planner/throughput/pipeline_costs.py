"""Costs of units in a pipeline in which each device runs one slice over and over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Bools, CostTable, Floats
from mosaic_onnx.planner.core.device_classes import DeviceClass
from mosaic_onnx.planner.core.lower_bounds import segment_floor
from mosaic_onnx.planner.core.objective_weights import LATENCY, weigh
from mosaic_onnx.planner.throughput.units import Units

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class PipelineCosts:
    """Costs of units in the states that matter: axis ``K``, the states of one device of each class.

    Where direct copies exist, each crossing counts the cheapest way, so loads are lower bounds.
    """

    classes: tuple[DeviceClass, ...]
    column_state: tuple[int, ...]
    """[K] state index"""
    column_class: tuple[int, ...]
    """[K] index into ``classes``"""
    work_s: Floats
    """[K, V] execution, and the way to host of outputs of the model; 0 where it cannot run"""
    runs: Bools
    """[K, V] the state can run the unit"""
    start_s: Floats
    """[K] once a slice"""
    in_s: Floats
    """[K, T] reading a tensor made elsewhere"""
    out_s: Floats
    """[K, T] handing on a tensor that a later slice reads"""
    bytes_least: Floats
    """[K, V] memory that adds up over the units of a slice, at least"""
    bytes_most: Floats
    """[K, V] likewise, at most"""
    spare_bytes: Floats
    """[K] the cap less what does not add up (the largest workspace), for ``most``"""
    cap_bytes: Floats
    """[K] inf for none"""
    caps_exact: bool
    """``bytes_least`` is all that a slice needs"""


def pipeline_costs(
    table: CostTable, units: Units, classes: tuple[DeviceClass, ...], *, floor: bool = False
) -> PipelineCosts:
    """Return the costs of the units in one representative device of each class.

    Args:
        table: costs of the layers.
        units: what slices are made of.
        classes: the devices, as far as they differ.
        floor: lower the costs until no measured segment undercuts them, so that loads are lower bounds.
    """
    columns = [(state, number) for number, one in enumerate(classes) for state in one.states]
    states = [state for state, _ in columns]
    devices = table.state_device[states]
    into, out = _crossing_costs(table)
    member = _unit_matrix(units, len(table.layer_names))
    layer_s = segment_floor(table, weigh(table, LATENCY)) if floor else table.layer_s
    finite = np.isfinite(table.layer_s[:, states])
    execution = member @ np.where(finite, layer_s[:, states], 0.0)
    measured = {state for _, _, state in table.segments} if floor else set()
    for tensor in np.flatnonzero(table.is_output & (table.producer >= 0)):
        execution[unit_of(units)[int(table.producer[tensor])]] += table.to_host_s[tensor, states]
    memory = _Memory(table, member, states)
    cap = np.minimum(table.memory_bytes, table.slice_memory_bytes)[devices]
    return PipelineCosts(
        classes=classes,
        column_state=tuple(states),
        column_class=tuple(number for _, number in columns),
        work_s=np.ascontiguousarray(execution.T),
        runs=np.ascontiguousarray((member @ (~finite).astype(np.float64) == 0).T),
        start_s=np.where([state in measured for state in states], 0.0, table.slice_s[devices]),
        in_s=np.ascontiguousarray(into[:, states].T),
        out_s=np.ascontiguousarray(out[:, states].T),
        bytes_least=memory.least,
        bytes_most=memory.most,
        spare_bytes=cap - memory.workspace_most,
        cap_bytes=cap,
        caps_exact=bool((memory.exact | (memory.most.sum(axis=1) <= cap - memory.workspace_most)).all()),
    )


def _crossing_costs(table: CostTable) -> tuple[Floats, Floats]:
    """Return [T, S] seconds of reading a tensor made elsewhere, and of handing one on: the cheapest way there is."""
    into, out = table.from_host_s.copy(), table.to_host_s.copy()
    for (source, destination), seconds in table.direct_s.items():
        into[:, destination] = np.minimum(into[:, destination], seconds)
        out[:, source] = np.minimum(out[:, source], seconds)
    return into, out


def _unit_matrix(units: Units, layer_count: int) -> csr_array:
    """Return [V, L] 1 where the layer belongs to the unit."""
    from scipy.sparse import csr_array

    pairs = [(unit, layer) for unit, layers in enumerate(units.layers) for layer in layers]
    places = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    ones = np.ones(len(places))
    return csr_array((ones, (places[:, 0], places[:, 1])), shape=(len(units.layers), layer_count))


def unit_of(units: Units) -> dict[int, int]:
    """Layer -> its unit."""
    return {layer: unit for unit, layers in enumerate(units.layers) for layer in layers}


def caps_can_bind(table: CostTable) -> bool:
    """Return whether a device could be too small for the whole model."""
    caps = np.minimum(table.memory_bytes, table.slice_memory_bytes)[table.state_device]
    if np.isinf(caps).all():
        return False
    activations = np.maximum(table.activation_bytes, table.rows.touched_bytes[:, None])
    need = (table.parameter_bytes + table.workspace_bytes + activations).sum(axis=0)
    return bool((need > caps).any())


class _Memory:
    """Memory of the units in each state: what surely adds up, and what may at most."""

    def __init__(self, table: CostTable, member: csr_array, states: Sequence[int]) -> None:
        sums = table.activation_sum[table.state_device[list(states)]]
        touched = table.rows.touched_bytes
        parameters = table.parameter_bytes[:, states].astype(np.float64)
        activations = table.activation_bytes[:, states].astype(np.float64)
        workspace = table.workspace_bytes[:, states]
        self.least = np.ascontiguousarray((member @ (parameters + np.where(sums, activations, 0.0))).T)
        self.most = np.ascontiguousarray((member @ (parameters + np.where(sums, activations, touched[:, None]))).T)
        self.workspace_most = workspace.max(axis=0, initial=0).astype(np.float64)
        self.exact = (self.workspace_most == 0) & (sums | (touched.sum() == 0))


def piece_work(costs: PipelineCosts) -> Floats:
    """Return [V, C] the fastest that a device of each class runs each unit."""
    work = np.where(costs.runs, costs.work_s, np.inf)
    return np.stack(
        [
            work[[column for column, number in enumerate(costs.column_class) if number == one]].min(axis=0)
            for one in range(len(costs.classes))
        ],
        axis=1,
    )
