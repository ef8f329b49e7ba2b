"""Energy of a call: RAPL and NVML meters behind one protocol, or a declared power model where there is no meter.

A joule is ``measured`` (a counter was read), ``modelled`` (declared watts × measured seconds) or ``absent``.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from mosaic_onnx.backends.hardware.system import SystemFiles, read_text
from mosaic_onnx.core.errors import BackendError

EnergySource = Literal["measured", "modelled", "absent"]
NVML_LIBRARY = "libnvidia-ml.so.1"


class EnergyMeter(Protocol):
    """A counter of joules since some start. It counts all work of its hardware."""

    @property
    def name(self) -> str:
        """Return the meter's name: ``rapl:package-0``, ``nvml:0``."""

    def read_joules(self) -> float:
        """Return the joules so far; they never decrease.

        Raises:
            BackendError: the counter cannot be read.
        """


@dataclass(frozen=True)
class AbsentMeter:
    """A meter that is not available, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Meters:
    """The energy meters of this machine."""

    meters: tuple[EnergyMeter, ...] = ()
    absent: tuple[AbsentMeter, ...] = ()


@dataclass(frozen=True)
class Energy:
    """The energy of one call, and its source.

    Attributes:
        joules: None where absent.
        source: measured, modelled or absent.
        seconds: of one call.
        meter: the meter's or model's name; where absent, the reason.
        error: relative difference between the two halves of a measurement; 0 where nothing was measured.
    """

    joules: float | None
    source: EnergySource
    seconds: float
    meter: str
    error: float = 0.0

    @property
    def watts(self) -> float | None:
        """Return the mean power of the call; None where absent."""
        return None if self.joules is None or not self.seconds else self.joules / self.seconds


@dataclass(frozen=True)
class PowerModel:
    """A declared power, for machines without a meter.

    Attributes:
        name: who declares it.
        watts: power while the device computes.
    """

    name: str
    watts: float


@dataclass
class RaplMeter:
    """One Linux powercap zone (``/sys/class/powercap/intel-rapl:0``; AMD processors have the same files)."""

    folder: Path
    _last_uj: int = field(default=-1, init=False)
    _wrapped_uj: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        """Return ``rapl:`` and the zone's name, with its package's name before it where it is inside one."""
        own = read_text(self.folder / "name") or self.folder.name
        package = read_text(self.folder.parent / "name") or read_text(self.folder.parent / _outer_zone(self.folder))
        return f"rapl:{package}/{own}" if self.folder.name.count(":") > 1 and package else f"rapl:{own}"

    def read_joules(self) -> float:
        """Return the joules so far, with wraps of the counter added (if read at least once per wrap: about 20 minutes).

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
    """Return the name file of the package that contains a zone (``intel-rapl:0`` of ``intel-rapl:0:1``)."""
    return f"{zone.name.rpartition(':')[0]}/name"


@dataclass(frozen=True)
class NvmlMeter:
    """The energy counter of one NVIDIA GPU (Volta and later)."""

    library: ctypes.CDLL
    handle: ctypes.c_void_p
    index: int

    @property
    def name(self) -> str:
        """Return ``nvml:`` and the GPU's index."""
        return f"nvml:{self.index}"

    def read_joules(self) -> float:
        """Return the joules since the driver was loaded.

        Raises:
            BackendError: the GPU has no such counter, or the driver refuses.
        """
        millijoules = ctypes.c_ulonglong()
        status = self.library.nvmlDeviceGetTotalEnergyConsumption(self.handle, ctypes.byref(millijoules))
        if status:
            raise BackendError(f"energy meter {self.name}: NVML error {status}")
        return millijoules.value / 1e3


def find_meters(powercap: Path | None = None, nvml_library: str = NVML_LIBRARY) -> Meters:
    """Return the meters of this machine that can be read now, and those that cannot, with the reason; never raises.

    Args:
        powercap: folder of the RAPL zones; None for this machine's.
        nvml_library: NVIDIA's management library.
    """
    zones = SystemFiles().path("class", "powercap") if powercap is None else powercap
    rapl, nvml = _find_rapl(zones), _find_nvml(nvml_library)
    return Meters((*rapl.meters, *nvml.meters), (*rapl.absent, *nvml.absent))


def measure_energy(
    call: Callable[[], object],
    meters: Sequence[EnergyMeter],
    model: PowerModel | None = None,
    *,
    least_s: float = 0.5,
    clock: Callable[[], float] = time.perf_counter,
) -> Energy:
    """Return the joules of one call: repeated until a counter (updated every few milliseconds) can tell, then divided.

    Args:
        call: complete when it returns.
        meters: all are read and added up; none for the declared model.
        model: used where there is no meter or a meter fails; None gives no joules then.
        least_s: seconds to repeat the call for.
        clock: seconds, never going back.
    """
    call()
    try:
        first, second = (_spell(call, meters, least_s / 2, clock) for _ in range(2))
    except BackendError as failure:
        if model is None:
            return _absent(call, failure.message, clock)
        return measure_energy(call, (), model, least_s=least_s, clock=clock)
    calls = first.calls + second.calls
    seconds = (first.seconds + second.seconds) / calls
    if meters:
        joules = first.joules + second.joules
        halves = first.joules / first.calls, second.joules / second.calls
        error = abs(halves[0] - halves[1]) / (halves[0] + halves[1]) if sum(halves) else 0.0
        return Energy(joules / calls, "measured", seconds, "+".join(meter.name for meter in meters), error)
    if model is not None:
        return Energy(model.watts * seconds, "modelled", seconds, model.name)
    return Energy(None, "absent", seconds, "no energy meter and no declared power model")


class _Spell(NamedTuple):
    """The number of calls in a row, and their total."""

    calls: int
    seconds: float
    joules: float


def _spell(
    call: Callable[[], object], meters: Sequence[EnergyMeter], least_s: float, clock: Callable[[], float]
) -> _Spell:
    before = sum(meter.read_joules() for meter in meters)
    started, calls = clock(), 0
    while calls == 0 or clock() - started < least_s:
        call()
        calls += 1
    seconds = clock() - started
    return _Spell(calls, seconds, sum(meter.read_joules() for meter in meters) - before)


def idle_power_w(meters: Sequence[EnergyMeter], least_s: float = 0.5) -> float:
    """Return the power of the machine while this process is idle.

    Raises:
        BackendError: a counter cannot be read.
    """
    if not meters:
        return 0.0
    before, started = sum(meter.read_joules() for meter in meters), time.perf_counter()
    time.sleep(least_s)
    return (sum(meter.read_joules() for meter in meters) - before) / (time.perf_counter() - started)


def _absent(call: Callable[[], object], reason: str, clock: Callable[[], float]) -> Energy:
    started = clock()
    call()
    return Energy(None, "absent", clock() - started, reason)


def _find_rapl(powercap: Path) -> Meters:
    """Return the meters of packages and memory: ``core`` and ``uncore`` are parts of a package, ``psys`` holds all."""
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


def _find_nvml(library_name: str) -> Meters:
    try:
        library = ctypes.CDLL(library_name)
    except OSError:
        return Meters(absent=(AbsentMeter("nvml", f"{library_name} is not installed (no NVIDIA driver)"),))
    status = library.nvmlInit_v2()
    if status:
        return Meters(absent=(AbsentMeter("nvml", f"NVML does not start: error {status}"),))
    found = ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(found))
    handles = [ctypes.c_void_p() for _ in range(found.value)]
    for index, handle in enumerate(handles):
        library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
    return _readable(NvmlMeter(library, handle, index) for index, handle in enumerate(handles))


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
