"""Energy: counters where they exist, declared watts otherwise, nothing made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mosaic_onnx.backends.hardware.energy_meters import RaplMeter, find_meters
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.profiling.energy.joules import PowerModel, measure_energy
from tests.unit.backends.hardware.nvml_stand_in import built


def zone(powercap: Path, name: str, label: str, microjoules: int, largest: int = 1_000_000) -> Path:
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{largest}\n")
    return folder


@dataclass
class FakeMeter:
    """A counter that rises by ``watts`` × the fake clock."""

    now: Callable[[], float]
    watts: float = 10.0
    name: str = "fake"

    def read_joules(self) -> float:
        return self.watts * self.now()


@dataclass
class BrokenMeter:
    name: str = "broken"

    def read_joules(self) -> float:
        raise BackendError("energy meter broken: gone")


@dataclass
class Clock:
    seconds: float = 0.0
    calls: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.seconds

    def work(self) -> None:
        self.seconds += 0.2
        self.calls.append(self.seconds)


def test_only_packages_are_counted_not_the_zones_inside_them(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 3_000_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 7_000_000)
    found = find_meters(tmp_path, "no-such-library.so")
    assert [meter.name for meter in found.meters] == ["rapl:package-0", "rapl:package-1"]
    assert [meter.read_joules() for meter in found.meters] == [5.0, 7.0]


def test_memory_is_counted_beside_its_package_and_the_whole_platform_is_not(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    zone(tmp_path, "intel-rapl:0:1", "dram", 2_000_000)
    zone(tmp_path, "intel-rapl:1", "psys", 9_000_000)
    found = find_meters(tmp_path, "no-such-library.so")
    assert {meter.name: meter.read_joules() for meter in found.meters} == {
        "rapl:package-0": 5.0,
        "rapl:package-0/dram": 2.0,
    }


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 900_000, largest=999_999)
    meter = RaplMeter(folder)
    first = meter.read_joules()
    (folder / "energy_uj").write_text("100000\n")
    assert meter.read_joules() - first == pytest.approx(0.2)


def test_a_zone_that_cannot_be_read_is_absent_with_the_reason(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (folder / "energy_uj").write_text("not a number")
    found = find_meters(tmp_path, "no-such-library.so")
    assert not found.meters
    assert found.absent[0].name == "rapl:package-0"
    assert "invalid literal" in found.absent[0].reason


def test_without_meters_the_reasons_are_told(tmp_path: Path) -> None:
    found = find_meters(tmp_path / "absent", "no-such-library.so")
    assert not found.meters
    assert {each.name for each in found.absent} == {"rapl", "nvml"}
    assert "no-such-library.so" in next(each.reason for each in found.absent if each.name == "nvml")


def test_joules_of_one_call_are_those_of_many_divided() -> None:
    clock = Clock()
    energy = measure_energy(clock.work, [FakeMeter(clock), FakeMeter(clock, 5.0, "other")], least_s=1.0, clock=clock)
    assert energy.source == "measured"
    assert energy.joules == pytest.approx(15.0 * 0.2)
    assert energy.seconds == pytest.approx(0.2)
    assert energy.meter == "fake+other"
    assert len(clock.calls) >= 6


def test_a_declared_model_is_called_modelled() -> None:
    clock = Clock()
    energy = measure_energy(clock.work, [], PowerModel("data sheet", 3.0), least_s=0.1, clock=clock)
    assert (energy.source, energy.meter) == ("modelled", "data sheet")
    assert energy.joules == pytest.approx(0.6)


def test_a_meter_that_fails_gives_way_to_the_model() -> None:
    clock = Clock()
    energy = measure_energy(clock.work, [BrokenMeter()], PowerModel("data sheet", 3.0), least_s=0.1, clock=clock)
    assert energy.source == "modelled"


def test_no_joule_is_made_up() -> None:
    clock = Clock()
    nothing = measure_energy(clock.work, [], least_s=0.1, clock=clock)
    failed = measure_energy(clock.work, [BrokenMeter()], least_s=0.1, clock=clock)
    assert (nothing.joules, nothing.source) == (None, "absent")
    assert (failed.joules, failed.source) == (None, "absent")
    assert "gone" in failed.meter
    assert failed.seconds == pytest.approx(0.2)


def test_nvml_is_read_in_joules_and_a_gpu_without_a_counter_is_absent(tmp_path: Path) -> None:
    found = find_meters(tmp_path / "no-powercap", built(tmp_path))
    assert [meter.name for meter in found.meters] == ["nvml:0"]
    before, after = found.meters[0].read_joules(), found.meters[0].read_joules()
    assert after - before == pytest.approx(0.5)
    refusal = "nvml:1: nvmlDeviceGetTotalEnergyConsumption: this GPU does not support it"
    assert ("nvml:1", refusal) in {(each.name, each.reason) for each in found.absent}
