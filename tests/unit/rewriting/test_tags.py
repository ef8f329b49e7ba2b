"""The device tags of the partitioned file."""

from __future__ import annotations

import pytest
from onnx import ModelProto

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.core.profiles import Profile, ProfileLayer
from mosaic_onnx.rewriting.tags import (
    add_configuration,
    layer_annotation,
    layer_assignment_settings,
    set_metadata,
    slice_metadata,
)

LAYERS = tuple(ProfileLayer(name, (), (name,)) for name in ("a", "b"))


def plan_on(*states: str) -> Plan:
    slices = tuple(Slice((index,), state, 0.0, 1.0) for index, state in enumerate(states))
    return Plan("latency", "sequential", "forced", slices, (), Predicted(1.0, None, 1.0))


def profile_of(*devices: Device) -> Profile:
    return Profile("p", devices, {}, (), ("b",), LAYERS)


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (Device("cpu"), "cpu(=cpu)"),
        (Device("gpu0", backend="openvino"), "gpu(=gpu0)"),
        (Device("fast", options={"provider": "CUDAExecutionProvider"}), "gpu(=fast)"),
        (Device("dsp", options={"provider": "QNNExecutionProvider"}), "npu(=dsp)"),
    ],
)
def test_a_device_is_assigned_by_its_provider_or_its_name(device: Device, expected: str) -> None:
    assert layer_assignment_settings(profile_of(device), plan_on(device.name, device.name)) == expected


def test_only_devices_of_the_plan_are_assigned() -> None:
    profile = profile_of(Device("cpu"), Device("gpu0"), Device("gpu1"))
    assert layer_assignment_settings(profile, plan_on("gpu0", "gpu1@low")) == "gpu(=gpu0,=gpu1)"


def test_an_annotation_holds_no_sign_of_the_assignments_syntax() -> None:
    assert layer_annotation("my device(0);=x") == "my_device_0___x"


def test_metadata_is_replaced_by_key_and_all_other_keys_stay() -> None:
    model = ModelProto()
    model.metadata_props.add(key="author", value="someone")
    model.metadata_props.add(key="mosaic.slices", value="9")
    set_metadata(model.metadata_props, {"mosaic.slices": "2", "mosaic.objective": "latency"})
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert found == {"author": "someone", "mosaic.slices": "2", "mosaic.objective": "latency"}


def test_a_slice_is_tagged_with_its_state_and_layers() -> None:
    tags = slice_metadata(profile_of(Device("npu", backend="simulated", precision="f16")), plan_on("npu@high"), 0)
    assert tags["mosaic.device"] == "npu"
    assert tags["mosaic.state"] == "npu@high"
    assert tags["mosaic.backend"] == "simulated"
    assert tags["mosaic.precision"] == "f16"
    assert tags["mosaic.layers"] == '["a"]'


def test_a_configuration_gets_a_name_that_is_free() -> None:
    model = ModelProto()
    model.configuration.add(name="mosaic", num_devices=1)
    name = add_configuration(model, ["cpu", "gpu0"])
    assert name != "mosaic"
    assert [(each.name, each.num_devices) for each in model.configuration] == [("mosaic", 1), (name, 2)]
