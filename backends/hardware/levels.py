"""A device's frequencies as its levels: listing them, holding one, and measuring the cost of a change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from mosaic_onnx.backends.base import LevelOffer
from mosaic_onnx.backends.hardware.frequencies import (
    FrequencyDomain,
    cpu_policies,
    devfreq_domains,
    domains_of_cores,
    gpu_domains,
    intel_gpu_domains,
)
from mosaic_onnx.backends.hardware.frequency_guard import FrequencyControl
from mosaic_onnx.backends.hardware.nvml import nvml_clocks
from mosaic_onnx.backends.hardware.system import SystemFiles
from mosaic_onnx.core.devices import Level
from mosaic_onnx.core.errors import UsageError

SETTLING_S = 0.1
"""The longest wait for a frequency; there is no wait where the kernel does not tell it."""
_CLOSE = 0.02
"""A frequency within this share of the wanted one counts as reached: clocks are multiples of a reference."""


def cpu_domains(files: SystemFiles, cores: Sequence[int]) -> tuple[FrequencyDomain, ...]:
    """Return the frequency domains of some cores."""
    return domains_of_cores(cpu_policies(files), cores)


def gpu_domain(files: SystemFiles, number: int = 0) -> tuple[FrequencyDomain, ...]:
    """Return the frequency domain of a GPU that is no NVIDIA card; none where the system has fewer."""
    return gpu_domains(files)[number : number + 1]


def intel_gpu_domain(files: SystemFiles, number: int = 0) -> tuple[FrequencyDomain, ...]:
    """Return the frequency domain of an Intel GPU; none where the system has fewer."""
    return intel_gpu_domains(files)[number : number + 1]


def nvidia_domain(files: SystemFiles, number: int) -> tuple[FrequencyDomain, ...]:
    """Return the frequency domain of an NVIDIA GPU: its locked clocks, or the devfreq device of a Jetson board."""
    return nvml_clocks()[number : number + 1] or gpu_domain(files, number)


def named_domain(files: SystemFiles, name: str) -> FrequencyDomain:
    """Return the domain of that name.

    Names are those of cpufreq policies (``policy0``), devfreq devices, Intel's GPUs (``card0``) and NVIDIA's
    (``nvml:0``).

    Raises:
        UsageError: there is no such domain.
    """
    domains = all_domains(files)
    found = next((domain for domain in domains if domain.name == name), None)
    if found is None:
        here = ", ".join(domain.name for domain in domains) or "none"
        raise UsageError(f"no frequency domain is called {name!r}", f"here: {here}")
    return found


def all_domains(files: SystemFiles) -> tuple[FrequencyDomain, ...]:
    """Return every frequency domain of the machine."""
    return (*cpu_policies(files), *devfreq_domains(files), *intel_gpu_domains(files), *nvml_clocks())


def offered_levels(domains: Sequence[FrequencyDomain]) -> LevelOffer:
    """Return the common levels of these domains, or why there are none."""
    if not domains:
        return LevelOffer(why_not="the system offers no frequencies to set (virtual machines and containers have none)")
    first = domains[0]
    if any(domain.frequencies_hz != first.frequencies_hz for domain in domains):
        names = ", ".join(domain.name for domain in domains)
        return LevelOffer(
            why_not=f"its cores lie in unequal frequency domains ({names}): use a device for each cluster"
        )
    refusal = next((words for domain in domains if (words := domain.why_not()) is not None), None)
    if refusal is not None:
        return LevelOffer(why_not=refusal)
    return LevelOffer(tuple(Level(f"{hertz / 1e6:.0f}MHz", hertz) for hertz in first.frequencies_hz))


@dataclass
class DomainLevels:
    """Holds domains at a level; restores their limits when it is closed, crashed or killed.

    Attributes:
        domains: of equal frequencies.
        clock: seconds, never going back.
    """

    domains: Sequence[FrequencyDomain]
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        """Prepare; nothing is changed yet."""
        self._control = FrequencyControl(self.domains)

    def __enter__(self) -> DomainLevels:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore."""
        self.close()

    def set_level(self, level: Level) -> None:
        """Hold the device at a level, and wait until its frequency is reached.

        Raises:
            BackendError: the system refuses.
        """
        changes = [self._control.set_hz(domain, level.frequency_hz) for domain in self.domains]
        if not any(changes):
            return
        deadline = self.clock() + SETTLING_S
        while self.clock() < deadline and not self._is_reached(level):
            time.sleep(0.0005)

    def read_hz(self) -> float | None:
        """Return the frequency that is run now; None where the kernel does not tell."""
        return self.domains[0].read_hz() if self.domains else None

    def close(self) -> None:
        """Restore the limits; calling it twice is harmless.

        Raises:
            BackendError: a limit could not be restored.
        """
        self._control.close()

    def _is_reached(self, level: Level) -> bool:
        now = [domain.read_hz() for domain in self.domains]
        return all(hertz is None or abs(hertz - level.frequency_hz) <= _CLOSE * level.frequency_hz for hertz in now)
