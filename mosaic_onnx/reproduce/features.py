"""The features of a workload for the calibration, computed once: counts by layer, legal slices, versions' slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.planner.baselines.arguments import highest_states
from mosaic_onnx.planner.baselines.filling import filled_slices
from mosaic_onnx.planner.core.request import Proposal
from mosaic_onnx.reproduce.chain import ChainCosts
from mosaic_onnx.reproduce.paper import DEVICES, FALLBACK
from mosaic_onnx.reproduce.priors import POWERS, RATES
from mosaic_onnx.reproduce.rates import CLASSES, LITTLE_MEMORY_FACTOR, Rates, devices
from mosaic_onnx.reproduce.workloads import Layered, described_profile, highest_only, layered
from mosaic_onnx.zoo import WORKLOADS, Workload

Pieces = tuple[tuple[int, int, int], ...]
"""Slices as (first, last, device)."""


@dataclass(frozen=True)
class Features:
    """The features of one workload, which do not depend on any rate.

    Attributes:
        workload: its row of Table I.
        gmac: [L, 5] by class.
        dense_gmac: [L, 5] with depthwise kernels dense.
        weight_mb: [L] as stored.
        npu_weight_mb: [L] dense, in half precision.
        kernels: [L] operators.
        in_bytes: [L] of the layer's input.
        out_bytes: [L] of its output.
        fits: [L, L, 4] the slice can run on the device, in the order of ``DEVICES``.
        preferred: by device, the slices of its preferred version.
    """

    workload: Workload
    gmac: Floats
    dense_gmac: Floats
    weight_mb: Floats
    npu_weight_mb: Floats
    kernels: Floats
    in_bytes: Floats
    out_bytes: Floats
    fits: np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]
    preferred: Mapping[str, Pieces]

    @property
    def layer_count(self) -> int:
        """Return the number of layers."""
        return len(self.kernels)


def features(name: str) -> Features:
    """Return the features of a workload."""
    one = layered(name)
    table = cost_table(described_profile(one, highest_only(devices(RATES, POWERS))))
    return Features(
        workload=WORKLOADS[name],
        gmac=_by_class(one, dense=False),
        dense_gmac=_by_class(one, dense=True),
        weight_mb=np.array([facts.parameter_bytes for facts in one.facts]) / 1e6,
        npu_weight_mb=np.array([2 * facts.dense_parameter_count for facts in one.facts]) / 1e6,
        kernels=np.array([float(facts.kernel_count) for facts in one.facts]),
        in_bytes=np.array([float(facts.input_bytes) for facts in one.facts]),
        out_bytes=np.array([float(facts.output_bytes) for facts in one.facts]),
        fits=legal_slices(table),
        preferred={name: _pieces(filled_slices(table, preference(table, name))) for name in DEVICES},
    )


def preference(table: CostTable, name: str) -> tuple[int, ...]:
    """Return the order of preference: a device, then NPU, GPU and big cluster (section VI-A), then the others."""
    names = dict.fromkeys((name, *FALLBACK, *table.device_names))
    return tuple(table.device_names.index(each) for each in names)


def legal_slices(table: CostTable) -> np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]:
    """Return [L, L, D] whether the device's highest state can run the slice from the first to the second index."""
    rows, layer_count = table.rows, len(table.layer_names)
    legal = np.zeros((layer_count, layer_count, len(table.device_names)), dtype=np.bool_)
    for device, state in enumerate(highest_states(table)):
        for first in range(layer_count):
            total = 0
            for last in range(first, layer_count):
                total += rows.parameter_bytes[last][state] + rows.activation_bytes[last][state]
                if rows.layer_s[last][state] == float("inf") or total > rows.slice_memory_bytes[device]:
                    break
                legal[first, last, device] = True
    return legal


def latency_costs(one: Features, rates: Rates) -> ChainCosts:
    """Return seconds on D = {big, little, GPU, NPU} at their highest levels (Equation 6)."""
    clocked_s, memory_s = time_parts(one, rates)
    copy_in, copy_out = copy_seconds(one, rates)
    return ChainCosts(clocked_s + memory_s, copy_in, copy_out, one.fits)


def time_parts(one: Features, rates: Rates) -> tuple[Floats, Floats]:
    """Return [L, 4] each layer's seconds that depend on the clock, and its memory seconds, at the highest levels."""
    clocked = np.empty((one.layer_count, 4))
    memory = np.empty((one.layer_count, 4))
    clocked[:, 0] = one.gmac @ np.array(rates.big) + rates.big_operator * one.kernels
    clocked[:, 1] = rates.little_ratio * clocked[:, 0]
    clocked[:, 2] = one.gmac @ np.array(rates.gpu) + rates.gpu_operator * one.kernels
    clocked[:, 3] = one.dense_gmac @ np.array(rates.npu) + rates.npu_operator * one.kernels
    memory[:, 0] = rates.big_weight * one.weight_mb
    memory[:, 1] = LITTLE_MEMORY_FACTOR * memory[:, 0]
    memory[:, 2] = rates.gpu_weight * one.weight_mb
    memory[:, 3] = rates.npu_weight * one.npu_weight_mb
    return clocked / 1e3, memory / 1e3


def copy_seconds(one: Features, rates: Rates) -> tuple[Floats, Floats]:
    """Return [L, 4] seconds to transfer each layer's input (Equation 1) and its output (Equation 2)."""
    per_byte = np.array([0.0, 0.0, rates.gpu_copy, rates.npu_copy]) / 1e9
    start = np.array([0.0, 0.0, rates.gpu_copy_start, rates.npu_copy_start]) / 1e3
    return one.in_bytes[:, None] * per_byte + start, one.out_bytes[:, None] * per_byte + start


def _by_class(one: Layered, *, dense: bool) -> Floats:
    rows = [facts.dense_macs if dense else facts.macs for facts in one.facts]
    return np.array([[row.get(kind, 0) for kind in CLASSES] for row in rows], dtype=np.float64) / 1e9


def _pieces(proposal: Proposal) -> Pieces:
    """Return the slices by device: each device has one level, so its state."""
    return tuple((placed.layers[0], placed.layers[-1], placed.state) for placed in proposal)
