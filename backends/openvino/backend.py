"""OpenVINO's own runtime on the CPU: f32 and bf16 are two devices, since precision is a device's attribute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from mosaic_onnx.backends.base import AbsentDevice, Array, FoundDevices, KernelTime, Memory, Runner, SliceModel
from mosaic_onnx.backends.openvino.claims import unsupported_node
from mosaic_onnx.backends.openvino.compile import compile_slice, core, named_failure
from mosaic_onnx.backends.openvino.kernels import kernels_of
from mosaic_onnx.backends.openvino.maps import too_many_maps
from mosaic_onnx.backends.openvino.options import option_rules, read_options
from mosaic_onnx.backends.openvino.quiet import openvino_module
from mosaic_onnx.backends.openvino.runner import OpenvinoRunner
from mosaic_onnx.backends.option_model import OptionRule
from mosaic_onnx.core.cpu_cores import pinned
from mosaic_onnx.core.devices import Device

NAME = "openvino"


@dataclass(frozen=True)
class Openvino:
    """The backend.

    Attributes:
        name: the backend's name in device entries.
    """

    name: str = NAME

    def find(self) -> FoundDevices:
        """Return devices here; never raises."""
        try:
            ov = openvino_module()
            plugins = list(core().available_devices)
            versions = {"openvino": ov.__version__}
            abilities = list(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")) if "CPU" in plugins else []
        except Exception as error:  # a broken installation must be a line, not a crash
            hint = "pip install 'mosaic-onnx[openvino]'" if isinstance(error, ImportError) else "see its message"
            return FoundDevices(absent=(AbsentDevice("openvino", NAME, f"{error} ({hint})"),))
        devices = [Device("openvino", backend=NAME)] if "CPU" in plugins else []
        absent = [
            AbsentDevice(
                f"openvino {plugin}", NAME, "OpenVINO has it; a device entry makes it a device: docs/devices.md"
            )
            for plugin in plugins
            if plugin != "CPU"
        ]
        if "BF16" in abilities:
            devices.append(Device("openvino-bf16", backend=NAME, precision="bf16"))
        else:
            absent.append(AbsentDevice("openvino-bf16", NAME, "this CPU has no bf16 instructions"))
        return FoundDevices(tuple(devices), tuple(absent), versions)

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """Return None if OpenVINO may take the node, else the reason; loading the slice verifies it."""
        return unsupported_node(node)

    def too_large(self, node_count: int, device: Device) -> str | None:
        """Return why OpenVINO would end the process that held a model of so many nodes; None where it would not."""
        return too_many_maps(node_count)

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Compile a slice for a device.

        Raises:
            BackendError: it cannot; the message names slice, device and OpenVINO's own reason.
            UsageError: the device's options are wrong.
        """
        options = read_options(device)
        label = f"slice {model.model.graph.name or ', '.join(model.outputs)!r} on {device.name}"
        compiled = compile_slice(model, label, options)
        return OpenvinoRunner(compiled.model, compiled.inputs, compiled.outputs, label, options.cores)

    def memory(self, device: Device) -> Memory | None:
        """Return None: OpenVINO's tensors are laid over host arrays."""
        return None

    def can_crash(self, device: Device) -> bool:
        """It compiles some graphs in more than quadratic time (2,000 elementwise operators in a row: a minute or two).

        Nothing ends that but a child's time limit.

        Raises:
            UsageError: the device's options are wrong.
        """
        read_options(device)
        return True

    def option_rules(self, device: Device) -> tuple[OptionRule, ...]:
        """Return every option, and whether a bundle may set it."""
        return option_rules()

    def kernel_times(
        self, model: SliceModel, device: Device, inputs: Mapping[str, Array], budget_s: float
    ) -> tuple[KernelTime, ...]:
        """Return each kernel's time from OpenVINO's performance counters.

        Raises:
            BackendError: the slice cannot be compiled or run.
        """
        options = read_options(device)
        label = f"slice {model.model.graph.name or ', '.join(model.outputs)!r} on {device.name}"
        compiled = compile_slice(model, label, options, recording=True)
        places = {
            port.index: np.ascontiguousarray(inputs[port.name]).reshape(inputs[port.name].shape)  # a scalar stays one
            for port in compiled.inputs
            if port.index is not None
        }
        with named_failure(label), pinned(options.cores):
            return kernels_of(compiled.model, places, budget_s)


BACKEND = Openvino()
