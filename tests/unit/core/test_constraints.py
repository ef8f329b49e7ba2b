"""Pins, forbids and caps: what they leave, and how conflicts are named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.cost_tables.constrain import constrain
from mosaic_onnx.core.cost_tables.feasibility import check_feasible
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.profile_plan import plan_profile


def profile_of(devices: tuple[Device, ...] | None = None, **changes: object) -> Profile:
    """conv1 → pad → conv2; the NPU, which is much faster, cannot run Pad; each layer has 100 bytes of parameters."""
    both = {"cpu": Cost(1.0), "npu": Cost(0.1)}
    layers = (
        ProfileLayer("conv1", ("x",), ("a",), both, parameter_bytes=100, nodes=("n/conv1",), op_types=("Conv",)),
        ProfileLayer("pad", ("a",), ("b",), {"cpu": Cost(1.0)}, {"npu": "operator not supported"}, op_types=("Pad",)),
        ProfileLayer("conv2", ("b",), ("y",), both, parameter_bytes=100, nodes=("n/conv2", "n/relu")),
    )
    devices = devices or (Device("cpu"), Device("npu"))
    profile = Profile("p", devices, {"x": 1, "a": 1, "b": 1, "y": 1}, ("x",), ("y",), layers)
    return replace(profile, **changes)  # type: ignore[arg-type]


def placed(profile: Profile) -> list[str]:
    """The device of each layer in the fastest plan."""
    states = {layer: item.state for item in plan_profile(profile).slices for layer in item.layers}
    return [states[layer] for layer in range(len(profile.layers))]


def conflict(profile: Profile, constraints: Constraints) -> str:
    with pytest.raises(InfeasibleError) as caught:
        constrain(profile, constraints)
    return caught.value.message


def test_without_constraints_nothing_changes() -> None:
    assert constrain(profile_of(), Constraints()) == profile_of()


def test_a_pinned_layer_runs_on_its_device_and_the_others_where_they_like() -> None:
    assert placed(profile_of()) == ["npu", "cpu", "npu"]
    assert placed(constrain(profile_of(), Constraints(pins=(("^conv1$", "cpu"),)))) == ["cpu", "cpu", "npu"]


def test_a_forbidden_device_is_left_out_for_all_layers_that_match() -> None:
    assert placed(constrain(profile_of(), Constraints(forbids=(("conv", "npu"),)))) == ["cpu", "cpu", "cpu"]


def test_rules_match_the_names_of_nodes_too() -> None:
    assert placed(constrain(profile_of(), Constraints(pins=(("n/relu", "cpu"),)))) == ["npu", "cpu", "cpu"]


def test_the_input_profile_is_left_untouched() -> None:
    profile = profile_of()
    constrain(profile, Constraints(pins=(("conv1", "cpu"),), memory_bytes={"npu": 1000}))
    assert profile == profile_of()


def test_what_a_layer_allowed_before_still_holds() -> None:
    layers = tuple(replace(layer, allowed=("cpu",)) for layer in profile_of().layers)
    constrained = constrain(profile_of(layers=layers), Constraints(forbids=(("pad", "npu"),)))
    assert [layer.allowed for layer in constrained.layers] == [("cpu",)] * 3


def test_caps_take_the_place_of_the_profiles() -> None:
    constrained = constrain(profile_of(), Constraints(memory_bytes={"npu": 500}, slice_memory_bytes={"npu": 300}))
    assert constrained.devices[1].memory_bytes == 500
    assert constrained.devices[1].slice_memory_bytes == 300
    assert constrained.devices[0] == Device("cpu")


def test_a_cap_too_small_for_any_layer_empties_the_device() -> None:
    assert placed(constrain(profile_of(), Constraints(slice_memory_bytes={"npu": 10}))) == ["cpu", "cpu", "cpu"]


def test_a_pin_to_a_device_that_cannot_run_the_layer_is_named_with_the_reason() -> None:
    said = conflict(profile_of(), Constraints(pins=(("pad", "npu"),)))
    assert said == "layer pad: pinned to npu, npu cannot run Pad: operator not supported"


def test_two_pins_of_one_layer_are_named() -> None:
    said = conflict(profile_of(), Constraints(pins=(("conv", "npu"), ("conv2", "cpu"))))
    assert said == "layer conv2: pinned to npu by 'conv' and to cpu by 'conv2'"


def test_a_pin_that_a_forbid_contradicts_is_named() -> None:
    said = conflict(profile_of(), Constraints(pins=(("conv1", "npu"),), forbids=(("conv", "npu"),)))
    assert said == "layer conv1: pinned to npu by 'conv1', forbidden there by 'conv'"


def test_forbids_that_leave_no_device_are_named_device_by_device() -> None:
    said = conflict(profile_of(), Constraints(forbids=(("pad", "cpu"),)))
    expected = "no device can run it: cpu is forbidden by 'pad'; npu cannot run Pad: operator not supported"
    assert said == f"layer pad: {expected}"


def test_a_pin_that_breaks_a_cap_is_named_with_the_bytes() -> None:
    said = conflict(profile_of(), Constraints(pins=(("conv1", "npu"),), slice_memory_bytes={"npu": 50}))
    assert said == "layer conv1: pinned to npu, it needs 102 bytes alone, slice_memory_bytes of npu is 50 bytes"


def test_layers_that_only_one_device_can_run_and_hold_are_named_as_few_as_possible() -> None:
    said = conflict(profile_of(), Constraints(pins=(("conv", "npu"),), memory_bytes={"npu": 150}))
    assert said.startswith("layers conv1, conv2 can only run on npu: their parameters take 200 bytes")


def test_a_group_without_a_common_device_is_named() -> None:
    layers = tuple(replace(layer, group="g") for layer in profile_of().layers)
    said = conflict(profile_of(layers=layers), Constraints(pins=(("conv1", "npu"),)))
    assert said == "layers of group g must share a device: conv1 only on npu; pad only on cpu"


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        (Constraints(pins=(("conv1", "gpu"),)), "a pin names device 'gpu'"),
        (Constraints(forbids=(("conv1", "gpu"),)), "a forbid names device 'gpu'"),
        (Constraints(memory_bytes={"gpu": 1}), "a memory cap names device 'gpu'"),
        (Constraints(slice_memory_bytes={"gpu": 1}), "a slice memory cap names device 'gpu'"),
        (Constraints(pins=(("conv9", "npu"),)), "'conv9=npu' matches no layer"),
        (Constraints(pins=(("(", "npu"),)), "is not a regular expression"),
    ],
)
def test_a_constraint_that_does_not_fit_the_profile_is_a_usage_error(constraints: Constraints, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        constrain(profile_of(), constraints)
    assert said in caught.value.message


def test_an_unsupported_layer_is_named_when_planning_fails() -> None:
    layers = (profile_of().layers[0], replace(profile_of().layers[1], cost={}, reasons={"cpu": "no kernel"}))
    with pytest.raises(InfeasibleError, match="layer pad: no device can run it: cpu cannot run Pad: no kernel"):
        plan_profile(profile_of(layers=layers, outputs=("b",)))


def test_a_profile_passes_the_look_for_conflicts_exactly_where_a_plan_exists() -> None:
    check_feasible(profile_of())
    assert placed(profile_of()) == ["npu", "cpu", "npu"]
    without_pad = tuple(replace(layer, cost={}) if layer.name == "pad" else layer for layer in profile_of().layers)
    with pytest.raises(InfeasibleError, match="layer pad: no device can run it"):
        check_feasible(profile_of(layers=without_pad))


def test_the_plan_says_what_was_demanded() -> None:
    constraints = Constraints(pins=(("conv1", "cpu"),), memory_bytes={"npu": 1000})
    plan = plan_profile(profile_of(), Request(deadline_s=10.0, min_slice_count=2), constraints)
    assert plan.constraints == {
        "pins": [["conv1", "cpu"]],
        "memory_bytes": {"npu": 1000},
        "deadline_s": 10.0,
        "min_slice_count": 2,
    }
    assert plan_profile(profile_of()).constraints == {}


def test_the_plan_holds_the_nodes_of_its_slices() -> None:
    nodes = [node for item in plan_profile(profile_of()).slices for node in item.nodes]
    assert nodes == ["n/conv1", "n/conv2", "n/relu"]
