"""A recorded big.LITTLE board is profiled at its frequencies, in seconds and joules, and planned for energy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnx.parser
import pytest

from mosaic_onnx.backends.base import Backend
from mosaic_onnx.backends.hardware.system import ROOT_VARIABLE
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.profiling.device_profiler import ProfilingEffort
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.profiling.profile_model import ProfileOptions, profile_model
from tests.unit.backends.hardware.recorded import Phone, phone
from tests.unit.profiling.helpers import normalised_model
from tests.unit.profiling.obedient_backend import BACKEND, CYCLES, DYNAMIC_W, FIXED_S, recorded_counter

MODEL = """<ir_version: 9, opset_import: ["" : 17]>
    chain (float[1,8] x) => (float[1,8] y) { a = Sin (x) b = Softmax (a) y = Cos (b) }"""
BRIEF = TimeBudget(0.02)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    recorded = phone(tmp_path)
    recorded_counter(tmp_path)
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    return recorded


def device(name: str, domain: str) -> Device:
    bare = Device(name, backend="obedient", options={"domain": domain})
    return replace(bare, levels=BACKEND.offered_levels(bare).levels)


def measured(energy_s: float = 0.02) -> Profile:
    normalised = normalised_model(onnx.parser.parse_model(MODEL))
    backends: dict[str, Backend] = {"obedient": BACKEND}
    effort = ProfilingEffort(layer=BRIEF, slice=BRIEF)
    options = ProfileOptions(effort=effort, energy_s=energy_s)
    devices = [device("little", "policy0"), device("big", "policy4")]
    return profile_model(normalised, layerize(normalised), devices, backends, options)


def test_layers_are_measured_at_the_lowest_and_highest_frequency_and_estimated_between(board: Phone) -> None:
    profile = measured()
    assert profile.states[:4] == ("little@533MHz", "little@999MHz", "little@1402MHz", "little@1844MHz")
    layer = profile.layers[0]
    for state in profile.states:
        cost = layer.cost[state]
        assert cost is not None
        expected_s = CYCLES / (1e6 * float(state.partition("@")[2].removesuffix("MHz"))) + FIXED_S
        assert cost.seconds == pytest.approx(expected_s, rel=0.6)  # a sleep may be late on a busy machine
    assert profile.meta["frequency_hz"] == {
        "little@533MHz": 533e6,
        "little@1844MHz": 1844e6,
        "big@682MHz": 682e6,
        "big@2362MHz": 2362e6,
    }


def test_joules_are_dynamic_power_times_seconds_and_the_meter_is_named(board: Phone) -> None:
    profile = measured()
    cost = profile.layers[0].cost["big@2362MHz"]
    assert cost is not None
    assert cost.joules is not None
    assert cost.joules / cost.seconds == pytest.approx(DYNAMIC_W["policy4"], rel=0.5)
    energy = profile.meta["energy"]
    assert isinstance(energy, dict)
    assert (energy["source"], energy["meter"]) == ("measured", "rapl:package-0")


def test_the_energy_plan_chooses_a_frequency_for_each_slice_and_the_limits_are_restored(board: Phone) -> None:
    before = (board.big / "scaling_max_freq").read_text()
    profile = measured()
    plan = plan_profile(profile, Request(objective="energy"))
    fastest = plan_profile(profile, Request(objective="latency"))
    assert plan.predicted.joules is not None
    assert fastest.predicted.joules is not None
    assert plan.predicted.joules < fastest.predicted.joules
    assert all("@" in one.state for one in plan.slices)
    assert (board.big / "scaling_max_freq").read_text() == before


def test_changing_the_level_is_timed(board: Phone) -> None:
    changes = measured().switches
    assert {switch.device for switch in changes} == {"little", "big"}
    assert all(switch.seconds > 0 for switch in changes)


def test_levels_that_may_not_be_set_are_left_out_with_the_file_to_open(
    board: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    bare = Device("big", backend="obedient", options={"domain": "policy4"})
    assert "scaling_max_freq is not writable: run as root" in BACKEND.offered_levels(bare).why_not


def test_without_a_meter_there_are_no_joules(board: Phone) -> None:
    for entry in (board.root / "sys/class/powercap/intel-rapl:0").iterdir():
        entry.unlink()
    profile = measured()
    assert all(cost is None or cost.joules is None for layer in profile.layers for cost in layer.cost.values())
