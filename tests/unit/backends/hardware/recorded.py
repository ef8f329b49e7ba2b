"""Recorded machines: trees of files as sysfs has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mosaic_onnx.backends.hardware.system import SystemFiles

LITTLE_KHZ = (533_000, 999_000, 1_402_000, 1_844_000)
BIG_KHZ = (682_000, 1_210_000, 1_863_000, 2_362_000)


def write(folder: Path, files: Mapping[str, object]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return folder


def policy(root: Path, cores: Sequence[int], kilohertz: Sequence[int], governor: str = "schedutil") -> Path:
    """A cpufreq policy of some cores, as ``policyN`` and as ``cpuN/cpufreq``."""
    listed = " ".join(map(str, cores))
    files = {
        "related_cpus": listed,
        "affected_cpus": listed,
        "cpuinfo_min_freq": min(kilohertz),
        "cpuinfo_max_freq": max(kilohertz),
        "scaling_available_frequencies": " ".join(map(str, kilohertz)),
        "scaling_min_freq": min(kilohertz),
        "scaling_max_freq": max(kilohertz),
        "scaling_cur_freq": min(kilohertz),
        "scaling_governor": governor,
    }
    cpu = root / "sys" / "devices" / "system" / "cpu"
    folder = write(cpu / "cpufreq" / f"policy{cores[0]}", files)
    for core in cores:
        (cpu / f"cpu{core}").mkdir(exist_ok=True)
        (cpu / f"cpu{core}" / "cpufreq").symlink_to(folder, target_is_directory=True)
    return folder


@dataclass(frozen=True)
class Phone:
    """A big.LITTLE board: four little cores, four big ones, a GPU with devfreq."""

    root: Path

    @property
    def files(self) -> SystemFiles:
        return SystemFiles(self.root)

    @property
    def big(self) -> Path:
        return self.root / "sys/devices/system/cpu/cpufreq/policy4"


def phone(root: Path) -> Phone:
    cpu = root / "sys" / "devices" / "system" / "cpu"
    write(cpu, {"online": "0-7", "possible": "0-7"})
    for core in range(8):
        write(cpu / f"cpu{core}", {"cpu_capacity": 462 if core < 4 else 1024})
    policy(root, range(4), LITTLE_KHZ)
    policy(root, range(4, 8), BIG_KHZ)
    gpu = {"available_frequencies": "767000000 104000000 415000000", "min_freq": 104000000, "max_freq": 767000000}
    write(root / "sys/class/devfreq/e82c0000.mali", {**gpu, "cur_freq": 104000000, "governor": "simple_ondemand"})
    return Phone(root)


def laptop(root: Path) -> SystemFiles:
    """A hybrid x86 processor: four performance cores with two threads each, eight efficiency cores."""
    cpu = root / "sys" / "devices" / "system" / "cpu"
    write(cpu, {"online": "0-15"})
    write(root / "sys/devices", {"cpu_core/cpus": "0-7", "cpu_atom/cpus": "8-15"})
    return SystemFiles(root)


def server(root: Path) -> SystemFiles:
    """Sixteen equal cores."""
    cpu = root / "sys" / "devices" / "system" / "cpu"
    write(cpu, {"online": "0-15"})
    for core in range(16):
        policy(root, [core], (1_500_000, 3_000_000))
    return SystemFiles(root)
