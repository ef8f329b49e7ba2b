"""ONNX Runtime: its CPU provider, and any built-in or plugin execution provider by a device entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from mosaic_onnx.backends.base import Absent, Array, Found, KernelTime, Memory, Runner, SliceModel
from mosaic_onnx.backends.ort_kernels import read_kernels, recording_folder, run_repeatedly
from mosaic_onnx.backends.ort_options import OrtOptions, read_options
from mosaic_onnx.backends.ort_plugins import Plugins
from mosaic_onnx.backends.ort_runner import OrtRunner
from mosaic_onnx.backends.ort_session import caller_cores, idle_providers, make_session
from mosaic_onnx.devices import Device
from mosaic_onnx.errors import BackendError, MosaicError

NAME = "onnxruntime"


@dataclass(frozen=True)
class OnnxRuntime:
    """The backend of every ONNX Runtime execution provider.

    Attributes:
        name: the backend's name in device entries.
        plugins: provider libraries that this process has loaded.
    """

    name: str = NAME
    plugins: Plugins = field(default_factory=Plugins)

    def find(self) -> Found:
        """Devices here; never raises."""
        try:
            import onnxruntime as ort

            idle = idle_providers()
        except Exception as error:  # a broken installation must be a line, not a crash
            return Found(absent=(Absent("cpu", NAME, f"onnxruntime cannot be imported: {error}"),))
        absent = tuple(
            Absent(provider, NAME, "built into onnxruntime; a device entry makes it a device: docs/devices.md")
            for provider in idle
        )
        return Found((Device("cpu", backend=NAME),), absent, {"onnxruntime": ort.__version__})

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """None if the provider may take the node, else the reason; loading the slice verifies it."""
        return None

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Compile a slice for a device.

        Raises:
            BackendError: it cannot; the message names slice, device and the provider's own reason.
            UsageError: the device's options are wrong.
        """
        options = read_options(device)
        label = _label(model, device)
        session = self._session(model, options, label)
        return OrtRunner(session, label, caller_cores(options))

    def memory(self, device: Device) -> Memory | None:
        """The device's own memory; None where it shares host's."""
        return None

    def can_crash(self, device: Device) -> bool:
        """Vendors' providers may take the process with them; ONNX Runtime's own CPU provider does not."""
        return not read_options(device).is_cpu

    def kernel_times(
        self, model: SliceModel, device: Device, inputs: Mapping[str, Array], budget_s: float
    ) -> tuple[KernelTime, ...]:
        """Each kernel's time from ONNX Runtime's profiler; only the CPU provider's kernels end when it says so.

        Raises:
            BackendError: the slice cannot be compiled or run, or the provider only enqueues its kernels.
        """
        options = read_options(device)
        label = _label(model, device)
        if not options.is_cpu:
            raise BackendError(f"{label}: {options.provider} does not tell when its kernels end")
        with recording_folder() as folder:
            session = self._session(model, options, label, record_to=f"{folder}/kernels")
            node_count = len(model.model.graph.node)
            run_repeatedly(OrtRunner(session, label, caller_cores(options)), inputs, node_count, budget_s)
            return read_kernels(Path(session.end_profiling()))

    def _session(self, model: SliceModel, options: OrtOptions, label: str, record_to: str | None = None) -> Any:
        try:
            return make_session(model, options, self._ep_devices(options), record_to)
        except MosaicError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            raise BackendError(f"{label}: {error}") from error

    def _ep_devices(self, options: OrtOptions) -> list[Any] | None:
        return self.plugins.devices(options) if options.is_plugin else None


def _label(model: SliceModel, device: Device) -> str:
    return f"slice {model.model.graph.name or ', '.join(model.outputs)!r} on {device.name}"


BACKEND = OnnxRuntime()
