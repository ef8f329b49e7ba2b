"""A recorded big.LITTLE board is profiled at its frequencies, in seconds and joules, and planned for energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import onnx.parser
import pytest

from mosaic_onnx.backends.base import Backend
from mosaic_onnx.backends.hardware.system import ROOT_VARIABLE
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import Cost, Profile
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.profiling.device_profiler import ProfilingEffort
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.profiling.profile_model import ProfileOptions, profile_model
from tests.machine.simulated_time import simulate_time
from tests.unit.backends.hardware.recorded import Phone, phone
from tests.unit.profiling.helpers import normalised_model
from tests.unit.profiling.obedient_backend import BACKEND, DYNAMIC_W, recorded_counter

MODEL = """<ir_version: 9, opset_import: ["" : 17]>
    chain (float[1,8] x) => (float[1,8] y) { a = Sin (x) b = Softmax (a) y = Cos (b) }"""
BRIEF = TimeBudget(0.02)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    root = tmp_path_factory.mktemp("board")
    recorded_counter(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ROOT_VARIABLE, str(root))
        simulate_time(patch.setattr)
        yield phone(root)


@pytest.fixture(scope="module")
def profile(board: Phone) -> Profile:
    return measured()


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


def costs_of(profile: Profile, device_name: str) -> list[Cost]:
    """Of the first layer, from the lowest frequency to the highest."""
    found = [profile.layers[0].cost[state] for state in profile.states if state.startswith(f"{device_name}@")]
    return [cost for cost in found if cost is not None]


def test_layers_are_measured_at_the_lowest_and_highest_frequency_and_estimated_between(profile: Profile) -> None:
    assert profile.states[:4] == ("little@533MHz", "little@999MHz", "little@1402MHz", "little@1844MHz")
    for name in ("little", "big"):
        costs = costs_of(profile, name)
        assert [cost.source for cost in costs] == ["measured", "modelled", "modelled", "measured"]
        seconds = [cost.seconds for cost in costs]
        assert seconds == sorted(seconds, reverse=True)
        assert seconds[0] > 1.5 * seconds[-1]
    assert profile.meta["frequency_hz"] == {
        "little@533MHz": 533e6,
        "little@1844MHz": 1844e6,
        "big@682MHz": 682e6,
        "big@2362MHz": 2362e6,
    }


def test_joules_follow_from_the_power_that_the_meter_shows(profile: Profile) -> None:
    watts = {
        name: [cost.joules / cost.seconds for cost in costs_of(profile, name) if cost.joules is not None]
        for name in ("little", "big")
    }
    assert [len(each) for each in watts.values()] == [4, 4]
    for name, domain in (("little", "policy0"), ("big", "policy4")):
        assert watts[name] == sorted(watts[name])
        assert watts[name][-1] == pytest.approx(DYNAMIC_W[domain], rel=0.05)
    energy = profile.meta["energy"]
    assert isinstance(energy, dict)
    assert (energy["source"], energy["meter"]) == ("measured", "rapl:package-0")


def test_the_energy_plan_chooses_a_frequency_for_each_slice(profile: Profile) -> None:
    plan = plan_profile(profile, Request(objective="energy"))
    fastest = plan_profile(profile, Request(objective="latency"))
    assert plan.predicted.joules is not None
    assert fastest.predicted.joules is not None
    assert plan.predicted.joules < fastest.predicted.joules
    assert all("@" in one.state for one in plan.slices)


def test_the_limits_are_as_before_once_the_profile_is_made(board: Phone, profile: Profile) -> None:
    limits = [(board.big / f"scaling_{end}_freq").read_text().strip() for end in ("min", "max")]
    assert limits == [str(1000 * round(mhz)) for mhz in (682, 2362)]


def test_changing_the_level_is_timed(profile: Profile) -> None:
    assert {switch.device for switch in profile.switches} == {"little", "big"}
    assert all(switch.seconds > 0 for switch in profile.switches)


def test_levels_that_may_not_be_set_are_left_out_with_the_file_to_open(
    board: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    bare = Device("big", backend="obedient", options={"domain": "policy4"})
    assert "scaling_max_freq is not writable: run as root" in BACKEND.offered_levels(bare).why_not


def test_without_a_meter_there_are_no_joules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phone(tmp_path)
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    simulate_time(monkeypatch.setattr)
    unmetered = measured()
    assert all(cost is None or cost.joules is None for layer in unmetered.layers for cost in layer.cost.values())
