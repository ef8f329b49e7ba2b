"""Preparation of ONNX Runtime's built-in CUDA provider, and the GPUs of this machine."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache

_TIME_LIMIT_S = 10.0
_QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class NvidiaGpu:
    """A GPU as its driver describes it.

    Attributes:
        name: the product's name.
        driver: the driver's version.
        memory_bytes: of its own memory; 0 where the driver does not tell.
    """

    name: str
    driver: str
    memory_bytes: int = 0

    @property
    def version(self) -> str:
        """Return name and driver, on which measurements depend."""
        return f"{self.name}, {self.driver}"


@cache
def preload() -> None:
    """Load the CUDA and cuDNN libraries that pip installed, if any; once per process.

    Missing libraries are left to the system's loader; the session then names those that it cannot find.
    """
    import onnxruntime as ort

    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()


def nvidia_gpus() -> tuple[NvidiaGpu, ...]:
    """Return the GPUs that NVIDIA's driver lists, in its order; none where there is no driver."""
    try:
        told = subprocess.run(_QUERY, capture_output=True, text=True, check=True, timeout=_TIME_LIMIT_S).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpus(told)


def parse_gpus(told: str) -> tuple[NvidiaGpu, ...]:
    """Return the GPUs of ``nvidia-smi``'s table of name, driver and memory in MiB."""
    gpus = []
    for line in told.splitlines():
        name, driver, memory = ([word.strip() for word in line.split(",")] + ["", ""])[:3]
        if name:
            gpus.append(NvidiaGpu(name, driver, int(memory) * 2**20 if memory.isdigit() else 0))
    return tuple(gpus)
