"""CPU clusters, found in sysfs: big and little cores (Arm), performance and efficiency cores (Intel)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mosaic_onnx.backends.hardware.system import SystemFiles, read_core_list, read_integer

CPU = ("devices", "system", "cpu")
_NAMES: Mapping[int, tuple[str, ...]] = {2: ("big", "little"), 3: ("big", "middle", "little")}


@dataclass(frozen=True)
class Cluster:
    """A cluster of equal cores.

    Attributes:
        name: ``big``, ``middle``, ``little``; ``p`` and ``e`` for hybrid x86 processors.
        cores: their numbers, ascending.
        capacity: the kernel's measure of one core's speed (the fastest core has 1,024); None where it gives none.
        frequency_hz: the highest frequency; None where the kernel does not tell.
    """

    name: str
    cores: tuple[int, ...]
    capacity: int | None = None
    frequency_hz: float | None = None


def cpu_clusters(files: SystemFiles, usable: Sequence[int] | None = None) -> tuple[Cluster, ...]:
    """Return the clusters of a processor with unequal cores, fastest first; none where all cores are equal.

    Sources, in this order: the hybrid core types of x86 (``cpu_core``, ``cpu_atom``), ``cpu_capacity`` (Arm), the
    highest frequency of each ``cpufreq`` policy.

    Args:
        files: the machine.
        usable: cores that this process may use; None for all that are online.
    """
    online = read_core_list(files.path(*CPU, "online"))
    cores = tuple(core for core in online if usable is None or core in usable)
    for groups in (_hybrid(files), _by_capacity(files, cores), _by_frequency(files, cores)):
        kept = [(name, tuple(core for core in group if core in cores)) for name, group in groups]
        kept = [(name, group) for name, group in kept if group]
        if len(kept) > 1:
            return tuple(_cluster(files, name, group) for name, group in kept)
    return ()


def _cluster(files: SystemFiles, name: str, cores: tuple[int, ...]) -> Cluster:
    kilohertz = read_integer(files.path(*CPU, f"cpu{cores[0]}", "cpufreq", "cpuinfo_max_freq"))
    capacity = read_integer(files.path(*CPU, f"cpu{cores[0]}", "cpu_capacity"))
    return Cluster(name, cores, capacity, None if kilohertz is None else 1e3 * kilohertz)


def _hybrid(files: SystemFiles) -> list[tuple[str, tuple[int, ...]]]:
    """Return the clusters by the core types that Linux lists for hybrid x86 processors."""
    types = (("p", "cpu_core"), ("e", "cpu_atom"), ("lp", "cpu_lowpower"))
    return [(name, read_core_list(files.path("devices", folder, "cpus"))) for name, folder in types]


def _by_capacity(files: SystemFiles, cores: Sequence[int]) -> list[tuple[str, tuple[int, ...]]]:
    capacity = {core: read_integer(files.path(*CPU, f"cpu{core}", "cpu_capacity")) for core in cores}
    return _grouped({core: value for core, value in capacity.items() if value is not None})


def _by_frequency(files: SystemFiles, cores: Sequence[int]) -> list[tuple[str, tuple[int, ...]]]:
    highest = {
        core: read_integer(files.path(*CPU, f"cpu{core}", "cpufreq", "cpuinfo_max_freq"))
        for core in cores
        if len(read_core_list(files.path(*CPU, f"cpu{core}", "cpufreq", "related_cpus"))) > 1
    }
    return _grouped({core: value for core, value in highest.items() if value is not None})


def _grouped(measure: Mapping[int, int]) -> list[tuple[str, tuple[int, ...]]]:
    """Return the groups of cores with the same measure, the largest measure first."""
    values = sorted(set(measure.values()), reverse=True)
    names = _NAMES.get(len(values)) or tuple(f"cluster{number}" for number in range(len(values)))
    return [
        (name, tuple(core for core in sorted(measure) if measure[core] == value))
        for name, value in zip(names, values, strict=True)
    ]
