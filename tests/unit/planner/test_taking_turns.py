"""Throughput of devices that all exclude each other: one request after the other, against every plan there is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.planner.taking_turns import one_works_at_a_time, taking_turns
from tests.unit.planner.enumeration import truth
from tests.unit.planner.random_graphs import EVERYTHING, Kind, random_profile

REQUEST = Request(objective="throughput", time_limit_s=5.0)


def on_the_same_cores(table: CostTable) -> CostTable:
    """The table with any two of its devices excluding each other."""
    count = range(len(table.device_names))
    return replace(table, exclusive=tuple(tuple(other for other in count if other != one) for one in count))


def test_it_is_asked_where_any_two_devices_exclude_each_other_only() -> None:
    table = cost_table(random_profile(np.random.default_rng(0), Kind(4, 3)))
    assert one_works_at_a_time(on_the_same_cores(table), REQUEST)
    assert not one_works_at_a_time(on_the_same_cores(table), Request())
    assert not one_works_at_a_time(replace(table, exclusive=((1,), (0,), ())), REQUEST)
    assert not one_works_at_a_time(table, REQUEST)


def test_its_bound_is_below_every_plan_whatever_the_profile_has() -> None:
    looked = 0
    for seed in range(12):
        table = on_the_same_cores(
            cost_table(random_profile(np.random.default_rng(seed), replace(EVERYTHING, layers=3)))
        )
        known = truth(table, 20_000)
        if known is not None and len(known.load_s):
            answer = taking_turns(table, REQUEST)
            assert answer.bound is not None
            assert answer.bound <= known.load_s.min() * (1 + 1e-9), seed
            looked += 1
    assert looked > 6


def test_more_layers_than_can_be_searched_get_a_plan_near_its_bound() -> None:
    table = on_the_same_cores(cost_table(random_profile(np.random.default_rng(1), Kind(60, 3, reach=2))))
    alone = [table.layer_s[:, table.state_device == device].min(axis=1).sum() for device in range(3)]
    plan = solve(table, REQUEST).plan
    assert plan.gap == pytest.approx(0.0, abs=0.02)
    assert plan.predicted.interval_seconds < min(alone)
