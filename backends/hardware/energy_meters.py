"""Counters of joules on this machine: RAPL (processors and memory) and NVML (NVIDIA's GPUs), behind one contract."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mosaic_onnx.backends.hardware.nvml import NvidiaDevice, open_nvml
from mosaic_onnx.backends.hardware.system import SystemFiles, read_text
from mosaic_onnx.core.errors import BackendError


class EnergyMeter(Protocol):
    """A counter of joules since some start. Whatever else runs there is counted too."""

    @property
    def name(self) -> str:
        """Return the meter's name: ``rapl:package-0``, ``nvml:0``."""

    def read_joules(self) -> float:
        """Joules so far; never falls.

        Raises:
            BackendError: the counter cannot be read.
        """


@dataclass(frozen=True)
class AbsentMeter:
    """A meter that is not here, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Meters:
    """The energy meters of this machine."""

    meters: tuple[EnergyMeter, ...] = ()
    absent: tuple[AbsentMeter, ...] = ()


@dataclass
class RaplMeter:
    """One Linux powercap zone (``/sys/class/powercap/intel-rapl:0``; AMD processors have the same files)."""

    folder: Path
    _last_uj: int = field(default=-1, init=False)
    _wrapped_uj: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        """``rapl:`` and the zone's own name, after its package's where it lies inside one."""
        own = read_text(self.folder / "name") or self.folder.name
        package = read_text(self.folder.parent / "name") or read_text(self.folder.parent / _outer_zone(self.folder))
        return f"rapl:{package}/{own}" if self.folder.name.count(":") > 1 and package else f"rapl:{own}"

    def read_joules(self) -> float:
        """Joules so far, wraps of the counter made good (if read at least once a wrap: about every 20 minutes).

        Raises:
            BackendError: the counter cannot be read.
        """
        try:
            now_uj = int((self.folder / "energy_uj").read_text())
            if now_uj < self._last_uj:
                self._wrapped_uj += int((self.folder / "max_energy_range_uj").read_text()) + 1
        except (OSError, ValueError) as error:
            raise BackendError(
                f"energy meter {self.folder.name}: {error}", "energy_uj is readable by root only"
            ) from error
        self._last_uj = now_uj
        return (self._wrapped_uj + now_uj) / 1e6


def _outer_zone(zone: Path) -> str:
    """The name file of the package that a zone lies in, beside the zone (``intel-rapl:0`` of ``intel-rapl:0:1``)."""
    return f"{zone.name.rpartition(':')[0]}/name"


@dataclass(frozen=True)
class NvmlMeter:
    """The energy counter of one NVIDIA GPU (Volta and later)."""

    device: NvidiaDevice

    @property
    def name(self) -> str:
        """Return ``nvml:`` and the GPU's index."""
        return self.device.name

    def read_joules(self) -> float:
        """Joules since the driver was loaded.

        Raises:
            BackendError: the GPU has no such counter, or the driver refuses.
        """
        millijoules = ctypes.c_ulonglong()
        self.device.call("nvmlDeviceGetTotalEnergyConsumption", ctypes.byref(millijoules))
        return millijoules.value / 1e3


def find_meters(powercap: Path | None = None, nvml_library: str | None = None) -> Meters:
    """The meters of this machine that can be read now, and those that cannot, with the reason; never raises.

    Args:
        powercap: folder of the RAPL zones; None for this machine's.
        nvml_library: NVIDIA's management library; None for the system's.
    """
    zones = SystemFiles().path("class", "powercap") if powercap is None else powercap
    rapl, nvml = _find_rapl(zones), _find_nvml(nvml_library)
    return Meters((*rapl.meters, *nvml.meters), (*rapl.absent, *nvml.absent))


def _find_rapl(powercap: Path) -> Meters:
    """Packages and memory: a ``core`` or ``uncore`` zone is part of its package, and ``psys`` holds the packages."""
    zones = sorted(powercap.glob("*-rapl:*")) if powercap.is_dir() else []
    counted = [zone for zone in zones if _is_counted(zone)]
    if not counted:
        return Meters(absent=(AbsentMeter("rapl", f"no RAPL zone under {powercap}"),))
    return _readable(RaplMeter(zone) for zone in counted)


def _is_counted(zone: Path) -> bool:
    label = (read_text(zone / "name") or "").partition("-")[0]
    if label == "psys" or not (zone / "energy_uj").exists():
        return False
    return zone.name.count(":") == 1 or label == "dram"


def _find_nvml(library_name: str | None) -> Meters:
    try:
        return _readable(NvmlMeter(device) for device in open_nvml(library_name))
    except BackendError as error:
        return Meters(absent=(AbsentMeter("nvml", error.message),))


def _readable(meters: Iterable[EnergyMeter]) -> Meters:
    """Return the meters that can be read, and the others with the reason."""
    working: list[EnergyMeter] = []
    absent: list[AbsentMeter] = []
    for meter in meters:
        try:
            meter.read_joules()
        except BackendError as error:
            absent.append(AbsentMeter(meter.name, error.message))
        else:
            working.append(meter)
    return Meters(tuple(working), tuple(absent))
