"""Limits on slices and switches that depend on the layer, on tables larger than the whole search takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mosaic_onnx.cli import run
from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.cost_tables.constrain import constrain
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.core.profiles import Cost, LayerSwitchCost, Profile, ProfileLayer, SwitchCost
from mosaic_onnx.files.profile_file import profile_from_json, profile_to_json, write_profile
from mosaic_onnx.planner.core.relaxation import relaxed
from mosaic_onnx.planner.core.request import PlacedSlice, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.refine import refine
from mosaic_onnx.planner.solve import solve

QUICK = Request(time_limit_s=1.0)


def zigzag(layer_count: int, **npu: object) -> Profile:
    """A chain whose layers are fastest on two devices in turn."""
    devices = (Device("cpu"), Device("npu", **npu))  # type: ignore[arg-type]
    layers = tuple(
        ProfileLayer(
            f"l{k}", (f"t{k}",), (f"t{k + 1}",), {"cpu": Cost(1.0 + 3 * (k % 2)), "npu": Cost(1.0 + 2 * ((k + 1) % 2))}
        )
        for k in range(layer_count)
    )
    tensors = {f"t{k}": 4 for k in range(layer_count + 1)}
    return Profile("zigzag", devices, tensors, ("t0",), (f"t{layer_count}",), layers)


def least_of_chain(table: CostTable, most: float) -> float:
    """The fastest plan of a chain in list order with at most so many slices, over (state, counts)."""
    count, states = table.layer_s.shape
    limits = np.full(len(table.device_names), np.inf) if table.max_slice_count is None else table.max_slice_count
    best = {(-1, (0,) * len(limits)): 0.0}
    for layer in range(count):
        following: dict[tuple[int, tuple[int, ...]], float] = {}
        for (state, used), seconds in best.items():
            for other in range(states):
                counts = list(used)
                counts[table.state_device[other]] += int(other != state)
                if sum(counts) <= most and (np.array(counts) <= limits).all():
                    key = other, tuple(counts)
                    total = seconds + float(table.layer_s[layer, other])
                    following[key] = min(total, following.get(key, np.inf))
        best = following
    return min(best.values())


@pytest.mark.parametrize("most", [1, 3, 8])
def test_no_plan_has_more_slices_than_allowed_and_few_are_nearly_the_best(most: int) -> None:
    table = cost_table(zigzag(12))
    solution = solve(table, replace(QUICK, max_slice_count=most))
    best = least_of_chain(table, most)
    assert len(solution.proposal) <= most
    assert solution.plan.bound is not None
    assert solution.plan.bound.value <= best + 1e-9
    assert best - 1e-9 <= solution.timeline.seconds <= 1.15 * best  # exact where the machine is not loaded


@pytest.mark.parametrize("most", [1, 4])
def test_a_device_runs_no_more_slices_than_it_takes(most: int) -> None:
    table = cost_table(constrain(zigzag(12), Constraints(max_slice_counts={"npu": most})))
    solution = solve(table, QUICK)
    assert sum(table.state_device[placed.state] == 1 for placed in solution.proposal) <= most
    best = least_of_chain(table, np.inf)
    assert best - 1e-9 <= solution.timeline.seconds <= 1.15 * best


@pytest.mark.parametrize(("objective", "schedule"), [("latency", "concurrent"), ("throughput", "sequential")])
def test_limits_hold_in_every_schedule(objective: str, schedule: str) -> None:
    table = cost_table(zigzag(12, max_slice_count=2))
    request = replace(QUICK, objective=objective, schedule=schedule, max_slice_count=4)
    solution = solve(table, request)  # type: ignore[arg-type]
    assert len(solution.proposal) <= 4
    assert sum(table.state_device[placed.state] == 1 for placed in solution.proposal) <= 2


def test_the_simulator_refuses_one_slice_too_many() -> None:
    table = cost_table(zigzag(3, max_slice_count=1))
    with pytest.raises(InfeasibleError, match="npu runs 2 slices, its max_slice_count is 1"):
        simulate(table, (PlacedSlice((0,), 1), PlacedSlice((1,), 0), PlacedSlice((2,), 1)))


def leveled() -> Profile:
    """A chain on one device of two levels; to change up is cheap only before the layer l6."""
    device = Device("cpu", levels=(Level("low"), Level("high")))
    layers = tuple(
        ProfileLayer(
            f"l{k}",
            (f"t{k}",),
            (f"t{k + 1}",),
            {"cpu@low": Cost(2.0, 1.0 if k < 5 else 9.0), "cpu@high": Cost(1.0, 9.0 if k < 5 else 1.0)},
        )
        for k in range(10)
    )
    dear = SwitchCost("cpu", "low", "high", 0.0, 20.0, {"l6": LayerSwitchCost(joules=0.5)})
    tensors = {f"t{k}": 4 for k in range(11)}
    return Profile("leveled", (device,), tensors, ("t0",), ("t10",), layers, switches=(dear,))


def test_the_level_changes_where_that_is_cheap() -> None:
    table = cost_table(leveled())
    assert relaxed(table) is not table
    solution = solve(table, replace(QUICK, objective="energy"))
    assert [placed.layers for placed in solution.proposal] == [tuple(range(6)), tuple(range(6, 10))]
    assert solution.timeline.joules == 5 * 1.0 + 9.0 + 0.5 + 4 * 1.0


def test_switches_by_layer_and_limits_are_kept_by_the_file() -> None:
    profile = replace(leveled(), devices=(replace(leveled().devices[0], max_slice_count=3),))
    assert profile_from_json(profile_to_json(profile)) == profile


def test_one_slice_proves_nothing_false_about_a_limit_of_the_plan() -> None:
    answer = refine(cost_table(zigzag(12)), replace(QUICK, max_slice_count=1))
    assert answer.bound is not None
    assert answer.bound <= least_of_chain(cost_table(zigzag(12)), 1)


def test_fewer_slices_than_asked_for_at_least_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 4 are asked for"):
        Request(min_slice_count=4, max_slice_count=3)


def test_the_command_takes_the_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "zigzag.json"
    write_profile(zigzag(5), file)
    assert run(["plan", str(file), "--max-slices", "3", "--max-slices-on", "npu=1", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert len(plan["slices"]) <= 3
    assert plan["constraints"] == {"max_slice_counts": {"npu": 1}, "max_slice_count": 3}
    assert run(["plan", str(file), "--max-slices-on", "npu=0"]) == 2
