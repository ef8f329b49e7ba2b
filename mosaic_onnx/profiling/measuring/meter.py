"""The meter: measures one device, in this process or in a child, behind one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mosaic_onnx.backends.base import (
    Array,
    Backend,
    CanCrash,
    KernelTime,
    KernelTimer,
    RecordsKernels,
    SliceModel,
)
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.isolation.backend import IsolatedBackend, address_of
from mosaic_onnx.isolation.process import ChildProcess
from mosaic_onnx.profiling.energy.joules import Energy
from mosaic_onnx.profiling.machine import MachineFacts
from mosaic_onnx.profiling.measuring.copies import CopyTimes, measure_copies
from mosaic_onnx.profiling.measuring.slices import (
    SliceMeasurement,
    SliceTrial,
    measure_slice,
    measure_slice_energy,
    measure_with_kernels,
    probe_slice,
)
from mosaic_onnx.profiling.measuring.timing import TimeBudget


class Meter(Protocol):
    """Measures on one device, one call at a time, so that measurements do not disturb each other."""

    def probe(self, model: SliceModel) -> SliceMeasurement:
        """Compile a slice and discard it."""

    def measure(self, model: SliceModel, trial: SliceTrial) -> SliceMeasurement:
        """Compile, run, compare with the reference's tensors and time a slice."""

    def kernels(self, model: SliceModel, inputs: Mapping[str, Array], budget: TimeBudget) -> tuple[KernelTime, ...]:
        """Return each kernel's time while the whole slice runs; empty where the runtime cannot tell."""

    def measure_with_kernels(
        self, model: SliceModel, trial: SliceTrial
    ) -> tuple[SliceMeasurement, tuple[KernelTime, ...]]:
        """Measure a slice and its kernels; compiled once for both where the backend can (``RecordsKernels``)."""

    def energy(self, model: SliceModel, inputs: Mapping[str, Array], least_s: float) -> Energy:
        """Measure the joules of one run of a slice, repeated for ``least_s`` seconds.

        Raises:
            BackendError: the device could not run it.
        """

    def copies(self, budget: TimeBudget) -> CopyTimes | None:
        """Return the times of transfers to and from the device's memory; None where it shares host memory.

        Raises:
            BackendError: the device could not be measured.
        """

    def machine(self) -> MachineFacts | None:
        """Return the facts of the machine that it measures on; None for this one.

        Raises:
            BackendError: that machine cannot be reached.
        """

    def close(self) -> None:
        """Release all resources; calling it twice is harmless."""


@dataclass(frozen=True)
class LocalMeter:
    """Measures in this process."""

    backend: Backend
    device: Device

    def probe(self, model: SliceModel) -> SliceMeasurement:
        """See ``Meter``."""
        return probe_slice(self.backend, self.device, model)

    def measure(self, model: SliceModel, trial: SliceTrial) -> SliceMeasurement:
        """See ``Meter``."""
        return measure_slice(self.backend, self.device, model, trial)

    def kernels(self, model: SliceModel, inputs: Mapping[str, Array], budget: TimeBudget) -> tuple[KernelTime, ...]:
        """See ``Meter``."""
        if not isinstance(self.backend, KernelTimer):
            return ()
        try:
            return self.backend.kernel_times(model, self.device, inputs, budget.seconds)
        except BackendError:  # the slice ran, so only its kernels' times are missing
            return ()

    def measure_with_kernels(
        self, model: SliceModel, trial: SliceTrial
    ) -> tuple[SliceMeasurement, tuple[KernelTime, ...]]:
        """See ``Meter``."""
        if isinstance(self.backend, RecordsKernels):
            return measure_with_kernels(self.backend, self.device, model, trial)
        return self.measure(model, trial), self.kernels(model, trial.inputs, trial.budget)

    def energy(self, model: SliceModel, inputs: Mapping[str, Array], least_s: float) -> Energy:
        """See ``Meter``."""
        return measure_slice_energy(self.backend, self.device, model, inputs, least_s)

    def copies(self, budget: TimeBudget) -> CopyTimes | None:
        """See ``Meter``."""
        memory = self.backend.memory(self.device)
        return None if memory is None else measure_copies(memory, budget)

    def machine(self) -> None:
        """Return None: it measures on this machine."""

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


def open_meter(backend: Backend, device: Device, limit_s: float) -> Meter:
    """Return the meter of a device: in a child process if its provider may crash or hang, else in this process.

    ``can_crash`` of the backend tells which devices may; without it, all may. A backend object that no module holds
    under a name cannot be imported by a child, and is measured in this process.

    Args:
        backend: the device's backend.
        device: the device to measure.
        limit_s: how long one request to a child may take.
    """
    from mosaic_onnx.profiling.measuring.worker import ChildMeter

    if device.host:
        from mosaic_onnx.profiling.measuring.remote import RemoteMeter

        return RemoteMeter(backend, device, limit_s)
    if isinstance(backend, IsolatedBackend):
        if not backend.isolates(device):
            return LocalMeter(backend.inner, device)
        return ChildMeter(backend.child(device), device, limit_s, owns_child=False)
    address = address_of(backend)
    risky = backend.can_crash(device) if isinstance(backend, CanCrash) else True
    if address is None or not risky:
        return LocalMeter(backend, device)
    return ChildMeter(ChildProcess(device.name, {device.backend: address}), device, limit_s)
