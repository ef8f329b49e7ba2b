"""Predictions compared with further measurements of the paper and of others: whole networks, and Figure 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.planner.baselines.random_plans import fits
from mosaic_onnx.planner.core.request import PlacedSlice, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.reproduce.paper import DEVICES, FALLBACK, INDEPENDENT_RATES
from mosaic_onnx.reproduce.workloads import described_profile, highest_only, layered


@dataclass(frozen=True)
class NetworkRate:
    """Images per second of one network on one device: by the description, and as measured by others."""

    network: str
    device: str
    described: float
    measured: float


def independent_rates(devices: Sequence[Device]) -> tuple[NetworkRate, ...]:
    """Return the rates of whole networks on one preferred device each, beside the independent measurements."""
    found = []
    for network, measured in INDEPENDENT_RATES.items():
        table = cost_table(described_profile(layered(network), devices))
        for device, rate in zip(DEVICES, measured, strict=True):
            if rate is None:
                continue
            order = ",".join(dict.fromkeys((device, *FALLBACK)))
            seconds = solve(table, Request(method=f"preferred:{order}")).timeline.seconds
            found.append(NetworkRate(network, device, 1 / seconds, rate))
    return tuple(found)


@dataclass(frozen=True)
class Spread:
    """The ways to cut one network into three slices (Figure 5), each on the NPU where it fits, else by fallback.

    Attributes:
        best_s: the fastest way.
        worst_s: the slowest way.
        ways: their number.
        ways_on_npu: the number of those on the NPU alone.
    """

    best_s: float
    worst_s: float
    ways: int
    ways_on_npu: int


def three_slice_spread(devices: Sequence[Device], name: str = "mobilenet_v2_1.4") -> Spread:
    """Return the effect of the position of two cuts (Figure 5)."""
    table = cost_table(described_profile(layered(name), highest_only(devices)))
    states = [table.state_names.index(state) for d in FALLBACK for state in table.state_names if device_of(state) == d]
    layer_count = len(table.layer_names)
    seconds, on_npu = [], 0
    for cuts in combinations(range(1, layer_count), 2):
        pieces = [tuple(range(start, end)) for start, end in pairwise((0, *cuts, layer_count))]
        plan = tuple(_first_fitting(table, layers, states) for layers in pieces)
        seconds.append(simulate(table, plan).seconds)
        on_npu += all(placed.state == states[0] for placed in plan)
    return Spread(min(seconds), max(seconds), len(seconds), on_npu)


def _first_fitting(table: CostTable, layers: tuple[int, ...], states: Sequence[int]) -> PlacedSlice:
    """Return the slice in the first state that can run it; the last state can run all slices."""
    for state in states[:-1]:
        placed = PlacedSlice(layers, state)
        if np.isfinite(table.layer_s[list(layers), state]).all() and fits(table, placed):
            return placed
    return PlacedSlice(layers, states[-1])
