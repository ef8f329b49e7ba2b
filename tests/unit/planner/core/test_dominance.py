"""Levels that another level of the device beats: left out where only time counts, and never missed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.profiles import Cost, LayerSwitchCost, Profile, ProfileLayer, SwitchCost
from mosaic_onnx.planner import solve as solve_module
from mosaic_onnx.planner.core.dominance import top_levels
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.solve import solve
from tests.unit.planner.random_profiles import random_profile


def test_a_plan_over_the_top_levels_is_as_fast_as_one_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = 0
    for seed in range(60):
        profile = replace(random_profile(seed, chain=seed % 2 == 0, layer_count=5, state_count=4), segments=())
        table = cost_table(profile)
        slow = replace(table, layer_s=_faster_with_the_level(profile.states, table.layer_s))
        kept, states = top_levels(slow, Request())
        fewer += len(kept.state_names) < len(slow.state_names)
        assert [slow.state_names[state] for state in states] == list(kept.state_names)
        try:
            quick = solve(slow, Request()).plan.predicted.seconds
        except solve_module.InfeasibleError:
            continue
        monkeypatch.setattr(solve_module, "top_levels", lambda table, _: (table, range(len(table.state_names))))
        assert quick == pytest.approx(solve(slow, Request()).plan.predicted.seconds, rel=1e-9)
        monkeypatch.undo()
    assert fewer > 3


def _faster_with_the_level(states: tuple[str, ...], layer_s: np.ndarray) -> np.ndarray:
    """Seconds in which each further level of a device is a tenth faster than the one before."""
    made = layer_s.copy()
    for index in range(1, len(states)):
        if states[index].partition("@")[0] == states[index - 1].partition("@")[0]:
            made[:, index] = 0.9 * made[:, index - 1]
    return made


def test_energy_needs_every_level() -> None:
    table = cost_table(replace(random_profile(0, chain=True, layer_count=5, state_count=4), segments=()))
    for request in (Request(objective="energy"), Request(budget_j=1.0), Request(pareto=True)):
        assert top_levels(table, request)[0] is table


def test_costs_of_switches_before_layers_stay_with_their_states() -> None:
    """One device's lower level goes; the other's two levels, neither of which beats the other, keep their switch."""
    layers = tuple(
        ProfileLayer(
            f"l{k}",
            (f"t{k}",),
            (f"t{k + 1}",),
            {"a@low": Cost(9.0), "a@high": Cost(8.0), "b@low": Cost(1.0 + k), "b@high": Cost(3.0 - k)},
        )
        for k in range(3)
    )
    dear = SwitchCost("b", "low", "high", 5.0, layers={"l2": LayerSwitchCost(0.25)})
    devices = tuple(Device(name, levels=(Level("low"), Level("high"))) for name in "ab")
    tensors = {f"t{k}": 1 for k in range(4)}
    table = cost_table(Profile("p", devices, tensors, ("t0",), ("t3",), layers, switches=(dear,)))
    kept, states = top_levels(table, Request())
    assert states == (1, 2, 3)
    assert {pair: costs[0].tolist() for pair, costs in kept.layer_switches.items()} == {(1, 2): [5.0, 5.0, 0.25]}
    assert solve(table, Request()).timeline.seconds == 1.0 + 2.0 + 0.25 + 1.0


def test_levels_stay_where_links_are_shared_or_devices_slow_each_other() -> None:
    profile = random_profile(0, chain=True, layer_count=5, state_count=4)
    table = replace(cost_table(replace(profile, segments=())), direct_s={}, direct_j={}, copies_occupy_device=False)
    count = len(table.device_names)
    side_by_side = Request(schedule="concurrent")
    assert top_levels(replace(table, link_names=("l",)), side_by_side)[1] == tuple(range(len(table.state_names)))
    slowed = replace(table, slowdown=((2.0,) * count,) * count)
    assert top_levels(slowed, side_by_side)[1] == tuple(range(len(table.state_names)))
