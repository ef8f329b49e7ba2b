"""Declared watts become modelled joules, and say so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import Cost, MeasuredSlice, Profile, ProfileLayer
from mosaic_onnx.profiling.energy.modelled import with_modelled_energy
from mosaic_onnx.profiling.energy.watts import Watts, parse_watts

LOW, HIGH = Level("low", 1e9, 0.8), Level("high", 2e9, 1.0)
LAYER = ProfileLayer("a", ("x",), ("y",), {"big@low": Cost(2.0), "big@high": Cost(1.0), "gpu": Cost(0.5), "npu": None})
PROFILE = Profile(
    "m",
    (Device("big", levels=(LOW, HIGH)), Device("gpu")),
    {"x": 4, "y": 4},
    ("x",),
    ("y",),
    (LAYER,),
    segments=(MeasuredSlice(0, 0, "gpu", 0.25),),
)
DECLARED = {"big": Watts(1.0, 5.0), "gpu": Watts(2.0, 10.0)}


def test_joules_are_dynamic_power_times_seconds() -> None:
    cost = with_modelled_energy(PROFILE, DECLARED).layers[0].cost
    assert cost["gpu"] == Cost(0.5, joules=4.0)
    assert cost["big@high"] == Cost(1.0, joules=4.0)


def test_dynamic_power_scales_with_voltage_squared_and_frequency() -> None:
    cost = with_modelled_energy(PROFILE, DECLARED).layers[0].cost["big@low"]
    assert cost is not None
    assert cost.joules == pytest.approx(4.0 * 0.8**2 * 0.5 * 2.0)


def test_idle_power_is_the_devices_and_a_measured_slice_has_joules_too() -> None:
    profile = with_modelled_energy(PROFILE, DECLARED)
    assert [device.idle_w for device in profile.devices] == [1.0, 2.0]
    assert profile.segments[0].joules == 2.0
    assert profile.meta["energy"] == {
        "source": "modelled",
        "watts": {"big": {"idle_w": 1.0, "busy_w": 5.0}, "gpu": {"idle_w": 2.0, "busy_w": 10.0}},
    }


def test_a_profile_with_joules_is_left_alone() -> None:
    measured = replace(PROFILE, layers=(replace(LAYER, cost={"gpu": Cost(1.0, joules=3.0)}),))
    assert with_modelled_energy(measured, DECLARED) is measured


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"big": Watts(1, 2)}, "no power is declared of gpu"),
        ({**DECLARED, "npu": Watts(1, 2)}, "'npu', which takes no part"),
    ],
)
def test_power_is_declared_of_every_device_and_of_no_other(declared: dict[str, Watts], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        with_modelled_energy(PROFILE, declared)


def test_words_of_the_command_line_are_watts() -> None:
    assert parse_watts(["cpu=3,15", "gpu=0.5,7"]) == {"cpu": Watts(3.0, 15.0), "gpu": Watts(0.5, 7.0)}


@pytest.mark.parametrize("word", ["cpu", "cpu=3", "cpu=3,2", "cpu=-1,2", "cpu=a,b", "=1,2", "cpu=0,inf", "cpu=1,nan"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="--watts"):
        parse_watts([word])
