"""Prices on the devices' seconds and bytes: bounds that hold, placements near them."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.throughput.load_prices import price_loads
from mosaic_onnx.planner.throughput.loads import Loads, pieces_of
from tests.unit.planner.enumeration import truth
from tests.unit.planner.random_graphs import EVERYTHING, Kind, random_profile


def blocks(layer_count: int, capped: bool) -> CostTable:
    """A long narrow graph on three devices, each of which may hold half of it."""
    rng = np.random.default_rng(layer_count)
    kind = Kind(layer_count, 3, reach=2, unsupported=0.0)
    table = cost_table(random_profile(rng, kind))
    cap = 0.5 * float(table.parameter_bytes[:, 0].sum()) + 1_000
    return replace(table, memory_bytes=np.full(3, cap)) if capped else table


def test_the_bound_is_below_every_plan_whatever_the_profile_has() -> None:
    looked = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        table = cost_table(random_profile(rng, replace(EVERYTHING, layers=3)))
        known = truth(table, 20_000)
        found = price_loads(table, None, time.monotonic() + 5.0)
        if found is not None and known is not None and len(known.load_s):
            assert found.bound_s <= known.load_s.min() * (1 + 1e-9), seed
            looked += 1
    assert looked > 10


def test_the_bound_counts_devices_that_exclude_each_other_as_one() -> None:
    for seed in range(10):
        table = cost_table(random_profile(np.random.default_rng(seed), Kind(4, 3)))
        together = replace(table, exclusive=((1,), (0,), ()))
        apart, found = (price_loads(one, None, time.monotonic() + 5.0) for one in (table, together))
        known = truth(together, 200_000)
        assert known is not None
        assert apart is not None
        assert found is not None
        assert apart.bound_s * (1 - 1e-2) <= found.bound_s <= known.load_s.min() * (1 + 1e-9), seed


def test_a_mixture_made_a_plan_is_near_the_bound_and_keeps_the_caps() -> None:
    for capped in (False, True):
        table = blocks(60, capped)
        found = price_loads(table, None, time.monotonic() + 20.0)
        assert found is not None
        loads = Loads(table, pieces_of(table), table.state_device[found.placements[0]].tolist())
        assert loads.keeps_caps
        assert found.bound_s <= max(loads.seconds) <= 1.3 * found.bound_s
