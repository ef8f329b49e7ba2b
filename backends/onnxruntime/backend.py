"""ONNX Runtime: its CPU provider, and any built-in or plugin execution provider by a device entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from typing import Any

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
from mosaic_onnx.backends.hardware.cpu_clusters import cpu_clusters
from mosaic_onnx.backends.hardware.frequencies import FrequencyDomain
from mosaic_onnx.backends.hardware.levels import (
    DomainLevels,
    cpu_domains,
    gpu_domain,
    named_domain,
    nvidia_domain,
    offered_levels,
)
from mosaic_onnx.backends.hardware.system import SystemFiles
from mosaic_onnx.backends.integers import integer_arithmetic, with_bodies
from mosaic_onnx.backends.onnxruntime.cuda import nvidia_gpus
from mosaic_onnx.backends.onnxruntime.kernels import RECORDING_PREFIX, RecordingOrtRunner, recording_folder
from mosaic_onnx.backends.onnxruntime.memory import OrtMemory, memory_of_type
from mosaic_onnx.backends.onnxruntime.offers import built_in_devices, unknown_providers
from mosaic_onnx.backends.onnxruntime.optimise import optimised
from mosaic_onnx.backends.onnxruntime.options import CPU_PROVIDER, OrtOptions, option_rules, read_options
from mosaic_onnx.backends.onnxruntime.plugins import Plugins, installed_version, is_installed, vulkan_driver
from mosaic_onnx.backends.onnxruntime.provider_facts import (
    EXTRAS,
    NAME,
    NVIDIA_PROVIDERS,
    PLUGIN_DEVICES,
    WEBGPU,
    WITH_EXTRAS,
    facts_of,
)
from mosaic_onnx.backends.onnxruntime.runner import OrtRunner
from mosaic_onnx.backends.onnxruntime.session import caller_cores, idle_providers, make_session
from mosaic_onnx.backends.option_model import OptionRule
from mosaic_onnx.backends.probe import ProbeResult, probe
from mosaic_onnx.backends.sharing import CoreUse
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, MosaicError
from mosaic_onnx.core.process.cpu_cores import can_pin, core_words, usable_cores


@dataclass(frozen=True)
class OnnxRuntime:
    """The backend of every ONNX Runtime execution provider.

    Attributes:
        name: the backend's name in device entries.
        plugins: provider libraries that this process has loaded.
    """

    name: str = NAME
    plugins: Plugins = field(default_factory=Plugins)

    def preload(self) -> None:
        """Import ONNX Runtime."""
        import_module("onnxruntime")

    def find(self) -> FoundDevices:
        """Return the available devices; never raises."""
        try:
            import onnxruntime as ort

            idle = idle_providers()
        except Exception as error:  # a broken installation is reported, not raised
            return FoundDevices(absent=(AbsentDevice("cpu", NAME, f"onnxruntime cannot be imported: {error}"),))
        others = _find_others(tuple(idle))
        absent = tuple(AbsentDevice(provider, NAME, reason) for provider, reason in unknown_providers(idle).items())
        versions = {"onnxruntime": ort.__version__, **others.versions}
        return FoundDevices((*cpu_devices(SystemFiles()), *others.devices), (*others.absent, *absent), versions)

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        """Return None if the provider may run the node, else the reason; loading the slice verifies it."""
        return _claim(node, read_options(device).provider)

    def load(self, model: SliceModel, device: Device) -> Runner:
        """Compile a slice for a device.

        Raises:
            BackendError: it cannot; the message names slice, device and the provider's reason.
            UsageError: the device's options are wrong.
        """
        options = _options_for(model, device)
        label = _label(model, device)
        session = self._session(model, options, label)
        return OrtRunner(
            session,
            label,
            caller_cores(options),
            self._memory(options, device),
            self.plugins.turn(options) if facts_of(options.provider).takes_turns else None,
            facts_of(options.provider).narrows_integers,
        )

    def memory(self, device: Device) -> Memory | None:
        """Return the device's own memory; None where it shares host memory.

        Raises:
            BackendError: the device's provider cannot be loaded.
        """
        return self._memory(read_options(device), device)

    def _memory(self, options: OrtOptions, device: Device) -> OrtMemory | None:
        if options.own_memory:
            return memory_of_type(device.name, options.own_memory, options.hardware)
        return self.plugins.memory(options, device.name) if options.is_plugin else None

    def describe(self, device: Device) -> ProbeResult:
        """Return the hardware behind a device that has just run a slice."""
        options = read_options(device)
        if options.is_plugin:
            facts = self.plugins.facts(options)
            return ProbeResult("", facts["hardware"], facts["version"])
        if options.provider not in NVIDIA_PROVIDERS:
            return ProbeResult("")
        gpus = nvidia_gpus()
        if options.hardware >= len(gpus):
            return ProbeResult("", "gpu")
        return ProbeResult("", "gpu", gpus[options.hardware].version, gpus[options.hardware].memory_bytes)

    def why_missing(self, device: Device) -> str:
        """Return the reason why NVIDIA's providers are missing, which ONNX Runtime does not tell; else empty."""
        if read_options(device).provider in NVIDIA_PROVIDERS and not nvidia_gpus():
            return "no NVIDIA GPU with a driver (nvidia-smi finds none): "
        return ""

    def core_use(self, device: Device) -> CoreUse | None:
        """Return the cores that the device works on; None for a device that is not the processor."""
        options = read_options(device)
        return CoreUse(options.threads, options.cores) if options.is_cpu else None

    def offered_levels(self, device: Device) -> LevelOffer:
        """Return the frequencies at which the device can be held, or why there are none."""
        try:
            domains = _frequency_domains(device)
        except MosaicError as error:
            return LevelOffer(why_not=error.message)
        if not domains and not read_options(device).is_cpu:
            words = "no frequencies of its hardware are found; a frequency_domain in its device entry names them"
            return LevelOffer(why_not=words)
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
        """Return True for vendors' providers, which may crash the process, unlike ONNX Runtime's CPU provider."""
        return not read_options(device).is_cpu

    def option_rules(self, device: Device) -> tuple[OptionRule, ...]:
        """Return every option of a device with this one's provider, and whether a bundle may set it."""
        return option_rules(str(device.options.get("provider", CPU_PROVIDER)))

    def optimise(self, model: SliceModel, device: Device) -> SliceModel | None:
        """Return the model optimised by the CPU provider; None for other providers, which compile it as a whole.

        Raises:
            BackendError: it cannot be compiled.
        """
        options = read_options(device)
        return optimised(model, options, _label(model, device)) if options.is_cpu else None

    def optimisations(self, device: Device) -> Mapping[str, Device]:
        """Return the CPU device at the levels below ``all``; none for other providers, or where the user gave one."""
        if "optimisation" in device.options or not read_options(device).is_cpu:
            return {}
        levels = ("extended", "basic", "disabled")
        return {each: replace(device, options={**device.options, "optimisation": each}) for each in levels}

    def runtime_default(self, device: Device) -> Device | None:
        """The CPU device with the threads and the spinning of a plain session; None where the user chose them."""
        if not read_options(device).is_cpu or {"threads", "cores", "spinning", "runtime_default"} & set(device.options):
            return None
        return replace(device, options={**device.options, "runtime_default": True})

    def kernel_times(
        self, model: SliceModel, device: Device, inputs: Mapping[str, Array], budget_s: float
    ) -> tuple[KernelTime, ...]:
        """Return each kernel's time from ONNX Runtime's profiler; only the CPU provider's kernels run synchronously.

        Raises:
            BackendError: the slice cannot be compiled or run, or the provider only enqueues its kernels.
        """
        runner = self.load_recording(model, device)
        try:
            return runner.kernels(inputs, budget_s)
        finally:
            runner.close()

    def load_recording(self, model: SliceModel, device: Device) -> RecordingOrtRunner:
        """Compile a slice whose kernels the profiler records until they are asked for.

        Raises:
            BackendError: the slice cannot be compiled, or the provider only enqueues its kernels.
        """
        options = read_options(device)
        label = _label(model, device)
        if not options.is_cpu:
            raise BackendError(f"{label}: {options.provider} does not tell when its kernels end")
        folder = recording_folder()
        try:
            session = self._session(model, options, label, record_to=f"{folder.name}/{RECORDING_PREFIX}")
        except BaseException:
            folder.cleanup()
            raise
        node_count = len(model.model.graph.node)
        return RecordingOrtRunner(session, label, caller_cores(options), folder, node_count)

    def _session(self, model: SliceModel, options: OrtOptions, label: str, record_to: str | None = None) -> Any:
        self.plugins.claim_options(options)
        for each in with_bodies(model.model.graph.node):  # some would crash the process
            if (reason := _claim(each, options.provider)) is not None:
                raise BackendError(f"{label}: node {each.name or each.output[0]!r}: {reason}")
        if facts_of(options.provider).narrows_integers and (node := integer_arithmetic(model.model)) is not None:
            name = node.name or node.output[0]
            raise BackendError(f"{label}: {options.provider} saturates integers where ONNX wraps them (node {name!r})")
        try:
            return make_session(model, options, self._ep_devices(options), record_to)
        except BackendError as error:
            raise BackendError(f"{label}: {error.message}", error.hint) from error
        except MosaicError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            raise BackendError(f"{label}: {error}") from error

    def _ep_devices(self, options: OrtOptions) -> list[Any] | None:
        return self.plugins.devices(options) if options.is_plugin else None


def _frequency_domains(device: Device) -> tuple[FrequencyDomain, ...]:
    """Return the frequency domains of a device: the one that its options name, its GPU's, or those of its cores.

    Raises:
        UsageError: the named domain does not exist.
    """
    options, files = read_options(device), SystemFiles()
    if options.frequency_domain:
        return (named_domain(files, options.frequency_domain),)
    if options.provider in NVIDIA_PROVIDERS:
        return nvidia_domain(files, options.hardware)
    if options.provider == WEBGPU:
        return gpu_domain(files, options.hardware)
    return cpu_domains(files, options.cores or usable_cores()) if options.is_cpu else ()


def cpu_devices(files: SystemFiles) -> tuple[Device, ...]:
    """Return the whole CPU, and each of its clusters where its cores are unequal.

    Args:
        files: the machine; a recorded one has cores of its own.
    """
    usable = None if files.is_recorded else usable_cores()
    clusters = cpu_clusters(files, usable) if can_pin() else ()
    return (
        Device("cpu", backend=NAME),
        *(Device(f"cpu-{one.name}", backend=NAME, options={"cores": core_words(one.cores)}) for one in clusters),
    )


def _options_for(model: SliceModel, device: Device) -> OrtOptions:
    """Return the device's options, without optimisation for a model that is already optimised."""
    options = read_options(device)
    return replace(options, optimisation="disabled", legalise=False) if model.is_optimised else options


def _claim(node: onnx.NodeProto, provider: str) -> str | None:
    claim = facts_of(provider).claims.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    reason = claim(node) if claim else None
    return f"{node.op_type}: {reason}" if reason else None


def _label(model: SliceModel, device: Device) -> str:
    return f"slice {model.model.graph.name or ', '.join(model.outputs)!r} on {device.name}"


@cache
def _find_others(built_in: tuple[str, ...]) -> FoundDevices:
    """Return the devices other than the CPU, each tried in a process of its own, once per process (it takes a second).

    Args:
        built_in: providers of the installed onnxruntime.
    """
    inside = built_in_devices(built_in, nvidia_gpus())
    plugins = tuple(device for device in PLUGIN_DEVICES if is_installed(str(device.options["package"])))
    tried = (*plugins, *inside)
    found = judged(tried, probe(f"{__name__}:BACKEND", tried))
    names = {str(device.options["provider"]) for device in tried}
    missing = [device for device in (*PLUGIN_DEVICES, *WITH_EXTRAS) if device.options["provider"] not in names]
    absent = [AbsentDevice(device.name, NAME, f"not installed: {_how_to_install(device)}") for device in missing]
    return FoundDevices(found.devices, (*absent, *found.absent), dict(found.versions) | vulkan_driver())


def judged(tried: Sequence[Device], verdicts: Sequence[ProbeResult]) -> FoundDevices:
    """Return the tried devices that work, and the reasons why the others do not."""
    devices: list[Device] = []
    absent: list[AbsentDevice] = []
    versions: dict[str, str] = {}
    for device, verdict in zip(tried, verdicts, strict=True):
        if verdict.reason:
            absent.append(AbsentDevice(device.name, NAME, verdict.reason))
        else:
            memory_bytes = verdict.memory_bytes or device.memory_bytes
            devices.append(replace(device, simulated=verdict.hardware == "cpu", memory_bytes=memory_bytes))
            versions |= _version(device, verdict)
    return FoundDevices(tuple(devices), tuple(absent), versions)


def _how_to_install(device: Device) -> str:
    package = device.options.get("package")
    return f"pip install 'mosaic-onnx[{EXTRAS[str(package)]}]'" if package else "docs/devices.md, CUDA"


def _version(device: Device, verdict: ProbeResult) -> dict[str, str]:
    """Return the version that measurements of a device depend on: of its package, or of the GPU and its driver."""
    package = device.options.get("package")
    if package is None:
        return {device.name: verdict.version} if verdict.version else {}
    return {str(package): f"{installed_version(str(package))} {verdict.version}".strip()}


BACKEND = OnnxRuntime()
