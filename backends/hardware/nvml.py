"""NVIDIA's management library (NVML): energy counters and locked clocks of its GPUs.

Names, arguments and error codes are those of NVML's API reference. Locking clocks needs root and a Volta or later; NVML
does not tell whether clocks are locked already, so restoring unlocks them.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mosaic_onnx.backends.hardware.frequencies import STEP_COUNT, Setting
from mosaic_onnx.core.errors import BackendError

LIBRARY = "libnvidia-ml.so.1"
_GRAPHICS_CLOCK = 0
_INSUFFICIENT_SIZE = 7
_WORDS = {3: "this GPU does not support it", 4: "no permission: run as root"}


@dataclass(frozen=True)
class NvidiaDevice:
    """One GPU as NVML knows it.

    Attributes:
        library: the loaded library.
        handle: NVML's own.
        index: in NVML's order, which is that of ``nvidia-smi``.
        library_name: by which another process loads it.
    """

    library: ctypes.CDLL
    handle: ctypes.c_void_p
    index: int
    library_name: str

    @property
    def name(self) -> str:
        """Return ``nvml:`` and the GPU's index."""
        return f"nvml:{self.index}"

    def call(self, function: str, *arguments: object) -> None:
        """Call a function of the GPU.

        Raises:
            BackendError: NVML refuses; the message names GPU and function.
        """
        status = getattr(self.library, function)(self.handle, *arguments)
        if status:
            raise BackendError(f"{self.name}: {function}: {_WORDS.get(status, f'NVML error {status}')}")

    def clocks_mhz(self, function: str, *arguments: object) -> tuple[int, ...]:
        """Return the list of clocks that a function fills, ascending.

        Raises:
            BackendError: NVML refuses.
        """
        count = ctypes.c_uint(0)
        status = getattr(self.library, function)(self.handle, *arguments, ctypes.byref(count), None)
        if status not in (0, _INSUFFICIENT_SIZE):
            raise BackendError(f"{self.name}: {function}: {_WORDS.get(status, f'NVML error {status}')}")
        clocks = (ctypes.c_uint * count.value)()
        if count.value:
            self.call(function, *arguments, ctypes.byref(count), clocks)
        return tuple(sorted(clocks[: count.value]))


def open_nvml(library_name: str | None = None) -> tuple[NvidiaDevice, ...]:
    """Return NVIDIA's GPUs.

    Args:
        library_name: of NVML; None for the system's.

    Raises:
        BackendError: there is no driver, or it does not start; the message says so.
    """
    name = library_name or LIBRARY
    try:
        library = ctypes.CDLL(name)
    except OSError:
        raise BackendError(f"{name} is not installed (no NVIDIA driver)") from None
    status = library.nvmlInit_v2()
    if status:
        raise BackendError(f"NVML does not start: error {status}")
    found = ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(found))
    handles = [ctypes.c_void_p() for _ in range(found.value)]
    for index, handle in enumerate(handles):
        library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
    return tuple(NvidiaDevice(library, handle, index, name) for index, handle in enumerate(handles))


@dataclass(frozen=True)
class NvmlClock:
    """The graphics clock of one GPU as a ``FrequencyDomain``.

    Attributes:
        device: the GPU.
    """

    device: NvidiaDevice

    @property
    def name(self) -> str:
        """Return ``nvml:`` and the GPU's index."""
        return self.device.name

    @property
    def governor(self) -> str:
        """Return nothing: NVIDIA's driver does not name its policy."""
        return ""

    @property
    def lock_path(self) -> str:
        """Return nothing: NVML's former settings are never read, so none can be read too early."""
        return ""

    @cached_property
    def frequencies_hz(self) -> tuple[float, ...]:
        """Return some of the supported clocks, the lowest and the highest among them; none where none are told."""
        try:
            memory = self.device.clocks_mhz("nvmlDeviceGetSupportedMemoryClocks")
            clocks = self.device.clocks_mhz("nvmlDeviceGetSupportedGraphicsClocks", memory[-1]) if memory else ()
        except BackendError:
            return ()
        return tuple(1e6 * megahertz for megahertz in _spread(clocks))

    def why_not(self) -> str | None:
        """Return why its clock cannot be locked, with a remedy; None where it can."""
        if len(self.frequencies_hz) < 2:
            return f"{self.name}: NVIDIA's driver tells no clocks that can be locked"
        if hasattr(os, "geteuid") and os.geteuid() != 0:
            return f"{self.name}: locking clocks needs root: run as root"
        return None

    def read_hz(self) -> float | None:
        """Return the current graphics clock; None where the driver does not tell."""
        megahertz = ctypes.c_uint()
        try:
            self.device.call("nvmlDeviceGetClockInfo", _GRAPHICS_CLOCK, ctypes.byref(megahertz))
        except BackendError:
            return None
        return 1e6 * megahertz.value

    def set_hz(self, frequency_hz: float) -> None:
        """Lock the clock.

        Raises:
            BackendError: the driver refuses.
        """
        megahertz = round(frequency_hz / 1e6)
        self.device.call("nvmlDeviceSetGpuLockedClocks", megahertz, megahertz)

    def former_settings(self) -> tuple[Setting, ...]:
        """Return what unlocks the clock."""
        return (("nvml", self.device.library_name, str(self.device.index)),)


def _spread(clocks: Sequence[int]) -> tuple[int, ...]:
    """Return at most ``STEP_COUNT`` of them, evenly by position, both ends included."""
    if len(clocks) <= STEP_COUNT:
        return tuple(clocks)
    return tuple(clocks[round(step * (len(clocks) - 1) / (STEP_COUNT - 1))] for step in range(STEP_COUNT))


def nvml_clocks(library_name: str | None = None) -> tuple[NvmlClock, ...]:
    """Return the clocks of NVIDIA's GPUs; none where there is no driver."""
    try:
        return tuple(NvmlClock(device) for device in open_nvml(library_name))
    except BackendError:
        return ()


def unlock_clocks(library_name: str, index: int) -> None:
    """Let a GPU's driver choose its clock again.

    Raises:
        BackendError: the driver refuses.
    """
    open_nvml(library_name)[index].call("nvmlDeviceResetGpuLockedClocks")
