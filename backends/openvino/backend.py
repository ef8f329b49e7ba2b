"""OpenVINO's own runtime. Precision is an attribute of a device, so its CPU in f32 and in bf16 are two devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import onnx

from mosaic_onnx.backends.base import (
    AbsentDevice,
    Array,
    FoundDevices,
    KernelTime,
    LevelControl,
    LevelOffer,
    Memory,
    Runner,
    SliceModel,
)
from mosaic_onnx.backends.hardware.frequencies import FrequencyDomain
from mosaic_onnx.backends.hardware.levels import DomainLevels, cpu_domains, intel_gpu_domain, offered_levels
from mosaic_onnx.backends.hardware.system import SystemFiles
from mosaic_onnx.backends.openvino.claims import unsupported_node
from mosaic_onnx.backends.openvino.compile import compile_slice, core
from mosaic_onnx.backends.openvino.kernels import RecordingOpenvinoRunner
from mosaic_onnx.backends.openvino.maps import too_many_maps
from mosaic_onnx.backends.openvino.offers import CPU, NAME, PluginAnswer, ask_plugins, offered
from mosaic_onnx.backends.openvino.options import option_rules, read_options
from mosaic_onnx.backends.openvino.quiet import openvino_module
from mosaic_onnx.backends.openvino.runner import OpenvinoRunner
from mosaic_onnx.backends.option_model import OptionRule
from mosaic_onnx.backends.probe import ProbeResult, probe
from mosaic_onnx.backends.sharing import CoreUse
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.process.cpu_cores import usable_cores


@dataclass(frozen=True)
class Openvino:
    """The backend of OpenVINO.

    Attributes:
        name: the backend's name in device entries.
    """

    name: str = NAME

    def preload(self) -> None:
        """Import OpenVINO and make its core."""
        core()

    def find(self) -> FoundDevices:
        """Return the available devices; never raises."""
        try:
            ov = openvino_module()
            versions = {"openvino": ov.__version__}
            answers = ask_plugins(core())
        except Exception as error:  # a broken installation is reported, not raised
            hint = error.hint if isinstance(error, BackendError) else "see its message"
            return FoundDevices(
                absent=(AbsentDevice("openvino", NAME, f"{error.args[0] if error.args else error} ({hint})"),)
            )
        found = found_among(answers, _tried(answers))
        return replace(found, versions=versions | dict(found.versions))

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """Return None if OpenVINO may run the node, else the reason; loading the slice verifies it."""
        return unsupported_node(node)

    def too_large(self, node_count: int, device: Device) -> str | None:
        """Return why OpenVINO would end a process with a model of so many nodes; None where it would not."""
        return too_many_maps(node_count)

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Compile a slice for a device.

        Raises:
            BackendError: it cannot; the message names slice, device and OpenVINO's own reason.
            UsageError: the device's options are wrong.
        """
        options = read_options(device)
        label = _label(model, device)
        compiled = compile_slice(model, label, options)
        return OpenvinoRunner(compiled.model, compiled.inputs, compiled.outputs, label, options.cores)

    def runtime_default(self, device: Device) -> Device | None:
        """The CPU as OpenVINO compiles for it when told the precision alone; None where the user chose more."""
        if read_options(device).plugin != "CPU" or {"threads", "cores", "runtime_default"} & set(device.options):
            return None
        return replace(device, options={**device.options, "runtime_default": True})

    def memory(self, device: Device) -> Memory | None:
        """Return None: OpenVINO's tensors use the memory of host arrays."""
        return None

    def core_use(self, device: Device) -> CoreUse | None:
        """Return the cores that the device works on; None for a device that is not the processor."""
        options = read_options(device)
        return CoreUse(options.threads, tuple(sorted(options.cores or ()))) if options.plugin == CPU else None

    def offered_levels(self, device: Device) -> LevelOffer:
        """Return the frequencies at which the device can be held, or why there are none."""
        domains = _frequency_domains(device)
        if not domains and read_options(device).plugin != CPU:
            return LevelOffer(why_not=f"the system offers no frequencies of OpenVINO's {read_options(device).plugin}")
        return offered_levels(domains)

    def level_control(self, device: Device) -> LevelControl:
        """Return a control of the device's frequency.

        Raises:
            BackendError: the device has no frequencies that can be set.
        """
        offer = self.offered_levels(device)
        if offer.why_not:
            raise BackendError(f"device {device.name}: {offer.why_not}")
        return DomainLevels(_frequency_domains(device))

    def can_crash(self, device: Device) -> bool:
        """Return True: some graphs take more than quadratic time to compile, which only a time limit ends.

        For example, 2,000 elementwise operators in a row take a minute or two.

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
        runner = self.load_recording(model, device)
        try:
            return runner.kernels(inputs, budget_s)
        finally:
            runner.close()

    def load_recording(self, model: SliceModel, device: Device) -> RecordingOpenvinoRunner:
        """Compile a slice with OpenVINO's performance counters on; they cost well below a microsecond a kernel.

        Raises:
            BackendError: the slice cannot be compiled.
        """
        options = read_options(device)
        label = _label(model, device)
        compiled = compile_slice(model, label, options, recording=True)
        return RecordingOpenvinoRunner(compiled.model, compiled.inputs, compiled.outputs, label, options.cores)


def _label(model: SliceModel, device: Device) -> str:
    return f"slice {model.model.graph.name or ', '.join(model.outputs)!r} on {device.name}"


def _frequency_domains(device: Device) -> tuple[FrequencyDomain, ...]:
    """Return the frequency domains of the device's cores or of its GPU; none of an NPU."""
    options, files = read_options(device), SystemFiles()
    kind, _, number = options.plugin.partition(".")
    if kind == "GPU":
        return intel_gpu_domain(files, int(number) if number.isdigit() else 0)
    return cpu_domains(files, sorted(options.cores or usable_cores())) if kind == CPU else ()


@cache
def _tried(answers: tuple[PluginAnswer, ...]) -> tuple[ProbeResult, ...]:
    """Return the results of trying each device other than the CPU; once per process, since it takes a second."""
    others, _ = offered(answers)
    return tuple(probe(f"{__name__}:BACKEND", [device for device in others if "plugin" in device.options]))


def found_among(answers: Sequence[PluginAnswer], verdicts: Sequence[ProbeResult]) -> FoundDevices:
    """Return the devices of OpenVINO that work, and the reasons why the others do not.

    Args:
        answers: OpenVINO's answers on its devices.
        verdicts: results of trying each device other than the CPU, in the order of ``offered``.
    """
    devices, absent = offered(answers)
    others = [device.name for device in devices if "plugin" in device.options]
    failed = {name: one.reason for name, one in zip(others, verdicts, strict=True) if one.reason}
    here = tuple(device for device in devices if device.name not in failed)
    products = {device.name: str(device.meta["product"]) for device in here if "product" in device.meta}
    return FoundDevices(
        here, (*absent, *(AbsentDevice(name, NAME, reason) for name, reason in failed.items())), products
    )


BACKEND = Openvino()
