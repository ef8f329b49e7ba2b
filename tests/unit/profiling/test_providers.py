"""Vendors' providers under measurement, each in a child process of its own."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.discovery.registry import backends, find_all
from mosaic_onnx.profiling.measuring.meter import open_meter
from mosaic_onnx.profiling.measuring.worker import ChildMeter
from mosaic_onnx.profiling.profile_model import ProfileOptions, profile_model
from tests.unit.profiling.test_profile_model import GRAPH, NET, QUICK


def measured(*names: str) -> Profile:
    found = find_all()
    options = ProfileOptions(effort=replace(QUICK, alone_s=10.0), versions=found.versions)
    return profile_model(NET, GRAPH, [found.devices[name] for name in names], backends(), options)


def assert_is_measured_in_a_child(name: str) -> None:
    device = find_all().devices[name]
    with closing(open_meter(backends()[device.backend], device, 60.0)) as meter:
        assert isinstance(meter, ChildMeter)


@pytest.mark.provider("qnn")
def test_the_npu_simulator_is_measured_and_compared_in_a_child() -> None:
    assert_is_measured_in_a_child("qnn")
    profile = measured("cpu", "qnn")
    errors = [cost.error for layer in profile.layers if (cost := layer.cost["qnn"]) and cost.error]
    assert errors
    assert max(errors) < 1e-2  # it computes in 16 bits
    assert profile.copies == ()


@pytest.mark.provider("webgpu")
def test_the_gpu_is_measured_with_its_copies_in_a_child() -> None:
    assert_is_measured_in_a_child("webgpu")
    profile = measured("cpu", "webgpu")
    assert {(copy.source, copy.destination) for copy in profile.copies} == {("host", "webgpu"), ("webgpu", "host")}
    assert all(copy.seconds > 0 or copy.seconds_per_byte > 0 for copy in profile.copies)
    assert any(layer.cost["webgpu"] for layer in profile.layers)


@pytest.mark.provider("openvino", "openvino-bf16")
def test_two_precisions_of_one_runtime_are_two_devices() -> None:
    profile = measured("openvino", "openvino-bf16")
    costs = [(layer.cost["openvino"], layer.cost["openvino-bf16"]) for layer in profile.layers]
    errors = [(exact.error, rough.error) for exact, rough in costs if exact and rough]
    assert len(errors) == len(profile.layers)
    assert any(exact is not None and rough is not None and exact < rough for exact, rough in errors)
