"""Energy of a call: RAPL and NVML meters behind one protocol, or a declared power model where there is no meter.

A joule is ``measured`` (a counter was read), ``modelled`` (declared watts × measured seconds) or ``absent``.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from mosaic_onnx.core.errors import BackendError

EnergySource = Literal["measured", "modelled", "absent"]
POWERCAP = Path("/sys/class/powercap")
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
    """

    joules: float | None
    source: EnergySource
    seconds: float
    meter: str


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
        """Return ``rapl:`` and the zone's name."""
        return f"rapl:{(self.folder / 'name').read_text().strip()}"

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


def find_meters(powercap: Path = POWERCAP, nvml_library: str = NVML_LIBRARY) -> Meters:
    """Return the meters of this machine that can be read now, and those that cannot, with the reason; never raises."""
    rapl, nvml = _find_rapl(powercap), _find_nvml(nvml_library)
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
        before = [meter.read_joules() for meter in meters]
        started, calls = clock(), 0
        while calls == 0 or clock() - started < least_s:
            call()
            calls += 1
        seconds = (clock() - started) / calls
        after = [meter.read_joules() for meter in meters]
    except BackendError as error:
        return (
            measure_energy(call, (), model, least_s=least_s, clock=clock)
            if model
            else _absent(call, error.message, clock)
        )
    if meters:
        joules = sum(after) - sum(before)
        return Energy(joules / calls, "measured", seconds, "+".join(meter.name for meter in meters))
    if model is not None:
        return Energy(model.watts * seconds, "modelled", seconds, model.name)
    return Energy(None, "absent", seconds, "no energy meter and no declared power model")


def _absent(call: Callable[[], object], reason: str, clock: Callable[[], float]) -> Energy:
    started = clock()
    call()
    return Energy(None, "absent", clock() - started, reason)


def _find_rapl(powercap: Path) -> Meters:
    """Return the meters of CPU packages; zones inside them would count the same energy twice."""
    zones = sorted(powercap.glob("*-rapl:*")) if powercap.is_dir() else []
    packages = [zone for zone in zones if zone.name.count(":") == 1 and (zone / "energy_uj").exists()]
    if not packages:
        return Meters(absent=(AbsentMeter("rapl", f"no RAPL zone under {powercap}"),))
    return _readable(RaplMeter(zone) for zone in packages)


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
