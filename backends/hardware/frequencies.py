"""Frequency domains: parts of a machine that can be held at one of several frequencies.

A domain is held by writing the same value as its lowest and its highest frequency, which every governor obeys; the
governor is not changed. CPU policies live under ``devices/system/cpu/cpufreq`` (kHz), GPUs and memory of boards
under ``class/devfreq`` (Hz), Intel's GPUs under ``class/drm`` (MHz).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mosaic_onnx.backends.hardware.cpu_clusters import CPU
from mosaic_onnx.backends.hardware.system import SystemFiles, read_core_list, read_integer, read_integers, read_text
from mosaic_onnx.core.errors import BackendError

STEP_COUNT = 4
"""Levels of a policy that lists no frequencies (``intel_pstate``): equal steps between its lowest and highest."""
_GPU_NAME = re.compile(r"gpu|mali|kgsl|ga10b|gv11b|gp10b")
"""Names of GPUs among the devfreq devices: Arm's, Qualcomm's, those of Jetson boards."""


Setting = tuple[str, ...]
"""A former setting: ``("file", path, text)``, or ``("nvml", library, index)`` for clocks that are unlocked."""


class FrequencyDomain(Protocol):
    """A part of the machine that can be held at one of several frequencies."""

    @property
    def name(self) -> str:
        """Return its name: ``policy0``, ``card0``, ``nvml:0``, or the devfreq device's."""

    @property
    def frequencies_hz(self) -> tuple[float, ...]:
        """Return the frequencies that it can be held at, ascending."""

    @property
    def governor(self) -> str:
        """Return the governor's name; empty where it is unknown."""

    @property
    def lock_path(self) -> str:
        """Return the file that whoever holds it locks; empty where there is none."""

    def why_not(self) -> str | None:
        """Return why its frequency cannot be set, with a remedy; None where it can."""

    def read_hz(self) -> float | None:
        """Return the current frequency; None where it is unknown."""

    def set_hz(self, frequency_hz: float) -> None:
        """Hold it at a frequency.

        Raises:
            BackendError: the system refuses.
        """

    def former_settings(self) -> tuple[Setting, ...]:
        """Return what restores it as it is now, in the order in which to restore.

        Raises:
            BackendError: a setting cannot be read.
        """


@dataclass(frozen=True)
class SysfsDomain:
    """A part of the machine whose frequency is limited by two files of the kernel.

    Attributes:
        name: ``policy0``, or the devfreq device's name.
        frequencies_hz: those that it can be held at, ascending.
        lowest: file of the lower limit.
        highest: file of the upper limit.
        current: file of the current frequency.
        unit_hz: hertz of one unit in those files.
        cores: of a CPU policy; empty elsewhere.
        governor: the governor's name; empty where it is unknown.
    """

    name: str
    frequencies_hz: tuple[float, ...]
    lowest: Path
    highest: Path
    current: Path
    unit_hz: float
    cores: tuple[int, ...] = ()
    governor: str = ""

    @property
    def files(self) -> tuple[Path, Path]:
        """Return the files that holding it writes."""
        return self.lowest, self.highest

    @property
    def lock_path(self) -> str:
        """Return the file of the upper limit."""
        return str(self.highest)

    @property
    def is_writable(self) -> bool:
        """Return whether this process may set it."""
        return all(os.access(path, os.W_OK) for path in self.files)

    def why_not(self) -> str | None:
        """Return why its frequency cannot be set, with a remedy; None where it can."""
        if len(self.frequencies_hz) < 2:
            return f"{self.name} has one frequency only"
        if not self.is_writable:
            return f"{self.highest} is not writable: run as root, or `sudo chmod a+w {self.lowest} {self.highest}`"
        return None

    def read_hz(self) -> float | None:
        """Return the current frequency; None where the kernel does not tell."""
        value = read_integer(self.current)
        return None if value is None else value * self.unit_hz

    def set_hz(self, frequency_hz: float) -> None:
        """Hold the domain at a frequency.

        Raises:
            BackendError: the system refuses.
        """
        text = str(round(frequency_hz / self.unit_hz))
        rises = int(text) >= (read_integer(self.highest) or 0)
        # a lower limit above the upper one is refused by the kernel
        for path in (self.highest, self.lowest) if rises else (self.lowest, self.highest):
            write_setting(path, text)

    def former_settings(self) -> tuple[Setting, ...]:
        """Return the current limits, the lower one twice: the kernel refuses an upper limit below the lower one.

        Raises:
            BackendError: a limit cannot be read.
        """
        lowest, highest = read_text(self.lowest), read_text(self.highest)
        if lowest is None or highest is None:
            raise BackendError(f"the limits of {self.name} cannot be read", f"see {self.highest}")
        return tuple(
            ("file", str(path), text)
            for path, text in ((self.lowest, lowest), (self.highest, highest), (self.lowest, lowest))
        )


def write_setting(path: Path, text: str) -> None:
    """Write one setting of the system.

    Raises:
        BackendError: the system refuses; the message names the file.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BackendError(f"{path} cannot be set to {text}: {error.strerror}", "setting frequencies needs root") from (
            error
        )


def cpu_policies(files: SystemFiles) -> tuple[SysfsDomain, ...]:
    """Return the frequency domains of the CPU, by policy number; none where the kernel offers no ``cpufreq``."""
    policies = [_policy(folder) for folder in files.folders(*CPU, "cpufreq", pattern="policy*")]
    return tuple(sorted((one for one in policies if one is not None), key=lambda one: one.cores))


def _policy(folder: Path) -> SysfsDomain | None:
    lowest, highest = (read_integer(folder / f"cpuinfo_{end}_freq") for end in ("min", "max"))
    cores = read_core_list(folder / "related_cpus") or read_core_list(folder / "affected_cpus")
    if lowest is None or highest is None or not cores:
        return None
    listed = read_integers(folder / "scaling_available_frequencies") or _steps(lowest, highest)
    return SysfsDomain(
        name=folder.name,
        frequencies_hz=tuple(1e3 * kilohertz for kilohertz in sorted(set(listed))),
        lowest=folder / "scaling_min_freq",
        highest=folder / "scaling_max_freq",
        current=folder / "scaling_cur_freq",
        unit_hz=1e3,
        cores=cores,
        governor=read_text(folder / "scaling_governor") or "",
    )


def _steps(lowest: int, highest: int) -> tuple[int, ...]:
    width = highest - lowest
    return tuple(dict.fromkeys(lowest + round(width * step / (STEP_COUNT - 1)) for step in range(STEP_COUNT)))


def devfreq_domains(files: SystemFiles) -> tuple[SysfsDomain, ...]:
    """Return the frequency domains of GPUs, NPUs and memories, by name."""
    domains = []
    for folder in files.folders("class", "devfreq", pattern="*"):
        listed = read_integers(folder / "available_frequencies")
        if listed:
            domains.append(
                SysfsDomain(
                    name=folder.name,
                    frequencies_hz=tuple(float(hertz) for hertz in sorted(set(listed))),
                    lowest=folder / "min_freq",
                    highest=folder / "max_freq",
                    current=folder / "cur_freq",
                    unit_hz=1.0,
                    governor=read_text(folder / "governor") or "",
                )
            )
    return tuple(domains)


def intel_gpu_domains(files: SystemFiles) -> tuple[SysfsDomain, ...]:
    """Return the frequency domains of Intel's GPUs (``class/drm/cardN``, MHz), by card."""
    domains = []
    for folder in files.folders("class", "drm", pattern="card*"):
        lowest, highest = read_integer(folder / "gt_RPn_freq_mhz"), read_integer(folder / "gt_RP0_freq_mhz")
        if lowest is not None and highest is not None:
            domains.append(
                SysfsDomain(
                    name=folder.name,
                    frequencies_hz=tuple(1e6 * megahertz for megahertz in _steps(lowest, highest)),
                    lowest=folder / "gt_min_freq_mhz",
                    highest=folder / "gt_max_freq_mhz",
                    current=folder / "gt_cur_freq_mhz",
                    unit_hz=1e6,
                )
            )
    return tuple(domains)


def gpu_domains(files: SystemFiles) -> tuple[SysfsDomain, ...]:
    """Return the frequency domains of GPUs: those of devfreq, then Intel's."""
    boards = tuple(domain for domain in devfreq_domains(files) if _GPU_NAME.search(domain.name))
    return (*boards, *intel_gpu_domains(files))


def domains_of_cores(domains: Sequence[SysfsDomain], cores: Sequence[int]) -> tuple[SysfsDomain, ...]:
    """Return the CPU policies that govern any of the cores."""
    wanted = set(cores)
    return tuple(domain for domain in domains if wanted.intersection(domain.cores))
