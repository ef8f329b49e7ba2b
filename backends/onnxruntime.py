"""ONNX Runtime: its CPU provider, and any built-in or plugin execution provider by a device entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx

from mosaic_onnx.backends.base import Absent, Found, Memory, Runner, SliceModel
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
        label = f"slice {model.model.graph.name or ', '.join(model.outputs)!r} on {device.name}"
        try:
            session = make_session(model, options, self._ep_devices(options))
        except MosaicError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            raise BackendError(f"{label}: {error}") from error
        return OrtRunner(session, label, caller_cores(options))

    def memory(self, device: Device) -> Memory | None:
        """The device's own memory; None where it shares host's."""
        return None

    def _ep_devices(self, options: OrtOptions) -> list[Any] | None:
        return self.plugins.devices(options) if options.is_plugin else None


BACKEND = OnnxRuntime()
