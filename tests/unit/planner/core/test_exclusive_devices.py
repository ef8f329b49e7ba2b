"""Devices that share cores take turns: in the simulator, in the throughput, in the runtime."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mosaic_onnx.backends.base import Backend
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.backends.sharing import exclusive_pairs
from mosaic_onnx.backends.simulated.backend import BACKEND as SIMULATED
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.files.profile_file import profile_from_json, profile_to_json
from mosaic_onnx.planner.core.request import PlacedSlice, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.solve import solve

COST = {"cpu": Cost(1.0), "big": Cost(1.5), "little": Cost(4.0)}
PROFILE = Profile(
    "two branches",
    (Device("cpu"), Device("big"), Device("little")),
    {"x": 4, "a": 4, "b": 4},
    ("x",),
    ("a", "b"),
    (ProfileLayer("a", ("x",), ("a",), COST), ProfileLayer("b", ("x",), ("b",), COST)),
    exclusive=(("cpu", "big"), ("cpu", "little")),
)


def seconds(*states: int) -> float:
    slices = tuple(PlacedSlice((layer,), state) for layer, state in enumerate(states))
    return simulate(cost_table(PROFILE), slices, "concurrent").seconds


def test_devices_that_exclude_each_other_take_turns_and_others_do_not() -> None:
    assert seconds(0, 1) == 2.5
    assert seconds(1, 2) == 4.0


def test_the_best_concurrent_plan_knows_of_the_turns() -> None:
    plan = solve(cost_table(PROFILE), Request(schedule="concurrent")).plan
    assert plan.predicted.seconds == 2.0
    free = solve(cost_table(replace(PROFILE, exclusive=())), Request(schedule="concurrent")).plan
    assert free.predicted.seconds == 1.5


def test_the_load_of_a_group_is_the_sum_of_its_devices() -> None:
    table = cost_table(replace(PROFILE, exclusive=(("cpu", "big"), ("cpu", "little"), ("big", "little"))))
    assert table.exclusive_groups == ((0, 1, 2),)
    slices = (PlacedSlice((0,), 0), PlacedSlice((1,), 1))
    assert simulate(table, slices, "sequential").interval_seconds == 2.5


def test_the_profile_file_holds_the_pairs_and_refuses_unknown_names() -> None:
    assert profile_from_json(profile_to_json(PROFILE)).exclusive == PROFILE.exclusive
    text = profile_to_json(PROFILE).replace('"little"\n', '"gpu"\n').replace('"cpu", "little"', '"cpu", "gpu"')
    with pytest.raises(ModelError, match=r"exclusive\[1\]: no device is called 'gpu'"):
        profile_from_json(text)


def test_pairs_follow_from_the_cores_that_devices_work_on() -> None:
    backends: dict[str, Backend] = {"onnxruntime": ORT, "simulated": SIMULATED}
    whole = Device("cpu", "onnxruntime", options={"threads": 2})
    first, second = (Device(f"core{n}", "onnxruntime", options={"cores": str(n)}) for n in (0, 0))
    board = Device("npu", "simulated")
    pairs = exclusive_pairs([whole, first, replace(second, name="again"), board], backends, core_count=2)
    assert pairs == (("cpu", "core0"), ("cpu", "again"), ("core0", "again"))
    single = Device("one", "onnxruntime", options={"threads": 1})
    assert exclusive_pairs([single, replace(single, name="other")], backends, core_count=2) == ()
