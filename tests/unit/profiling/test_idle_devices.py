"""A device that runs no layer is told with the reason."""

from __future__ import annotations

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.profiling.idle_devices import idle_devices


def profile_of(*layers: ProfileLayer) -> Profile:
    devices = (Device("cpu"), Device("npu", levels=(Level("low", 1e8), Level("high", 1e9))))
    return Profile("m", devices, {"x": 4, "h": 4, "y": 4}, ("x",), ("y",), layers)


def layer(name: str, runs: tuple[str, ...], **reasons: str) -> ProfileLayer:
    return ProfileLayer(name, ("x",), ("h",), {state: Cost(1.0) for state in runs}, reasons=reasons)


def test_a_device_that_runs_one_layer_at_one_level_is_not_idle() -> None:
    assert idle_devices(profile_of(layer("a", ("cpu", "npu@low")), layer("b", ("cpu",), npu="no"))) == {}


def test_the_first_reason_stands_for_a_device_that_runs_nothing() -> None:
    found = idle_devices(profile_of(layer("a", ("cpu",)), layer("b", ("cpu",), **{"npu@high": "crashed"})))
    assert found == {"npu": "b: crashed"}


def test_no_reason_is_said_to_be_none() -> None:
    assert idle_devices(profile_of(layer("a", ("cpu",)))) == {"npu": "no reason is known"}
