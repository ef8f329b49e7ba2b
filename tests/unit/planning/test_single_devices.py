"""Single devices against the plan: those that run the whole model, and a word on those that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.candidates import single_device_plans
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.profiling.measure_slices import SegmentsMeasured


@pytest.mark.parametrize("simulated", [False, True])
def test_a_device_that_refuses_a_layer_is_named_with_the_layer_and_the_reason(simulated: bool) -> None:
    whole = ProfileLayer("first", ("x",), ("a",), {"cpu": Cost(1.0), "npu": Cost(0.1)})
    part = ProfileLayer("last", ("a",), ("y",), {"cpu": Cost(1.0)}, reasons={"npu": "its result is wrong"})
    devices = (Device("cpu", "x"), Device("npu", "x", simulated=simulated))
    profile = Profile("two", devices, {"x": 4, "a": 4, "y": 4}, ("x",), ("y",), (whole, part))
    table, notes = cost_table(profile), list[str]()
    plan = replace(plan_profile(profile, Request()), method="test")
    found = single_device_plans(profile, plan, ["cpu", "npu"], table, lambda wanted: SegmentsMeasured(), notes.append)
    assert list(found) == ["cpu"]
    assert notes == ([] if simulated else ["npu alone is left out: last: its result is wrong"])
