"""Three machines: the recorded answers of their systems and of the vendors' runtimes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mosaic_onnx.backends.base import FoundDevices, as_devices
from mosaic_onnx.backends.hardware.system import SystemFiles
from mosaic_onnx.backends.onnxruntime.backend import cpu_devices, judged
from mosaic_onnx.backends.onnxruntime.cuda import NvidiaGpu, parse_gpus
from mosaic_onnx.backends.onnxruntime.offers import built_in_devices, unknown_providers
from mosaic_onnx.backends.onnxruntime.provider_facts import PLUGIN_DEVICES
from mosaic_onnx.backends.openvino.backend import found_among
from mosaic_onnx.backends.openvino.offers import PluginAnswer, offered
from mosaic_onnx.backends.probe import ProbeResult
from mosaic_onnx.discovery.registry import Inventory
from tests.unit.backends.hardware import recorded

NVIDIA_SMI = "NVIDIA A100-SXM4-40GB, 550.54.15, 40960\nNVIDIA A100-SXM4-40GB, 550.54.15, 40960\n"


@dataclass(frozen=True)
class Machine:
    """The answers of a machine's system and runtimes.

    Attributes:
        files: of the system.
        core_count: of its processor.
        installed: names of ONNX Runtime's plugin devices whose packages are installed.
        providers: built into its ONNX Runtime, beside the CPU's.
        gpus: that NVIDIA's driver lists.
        plugins: that OpenVINO lists.
        failing: devices whose trial fails, with the reason.
    """

    files: SystemFiles
    core_count: int
    installed: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    gpus: tuple[NvidiaGpu, ...] = ()
    plugins: tuple[PluginAnswer, ...] = ()
    failing: dict[str, str] = field(default_factory=dict)

    def onnxruntime(self) -> FoundDevices:
        """Return what backend ``onnxruntime`` finds."""
        plugins = tuple(device for device in PLUGIN_DEVICES if device.name in self.installed)
        tried = (*plugins, *built_in_devices(self.providers, self.gpus))
        verdicts = [
            ProbeResult(
                self.failing.get(device.name, ""),
                "gpu",
                memory_bytes=self.gpus[int(device.options.get("hardware", 0))].memory_bytes if self.gpus else 0,
            )
            for device in tried
        ]
        others = judged(tried, verdicts)
        assert unknown_providers(self.providers) == {}
        return FoundDevices((*cpu_devices(self.files), *others.devices), others.absent, {"onnxruntime": "recorded"})

    def openvino(self) -> FoundDevices:
        """Return what backend ``openvino`` finds."""
        if not self.plugins:
            return FoundDevices()
        others, _ = offered(self.plugins)
        trials = [ProbeResult(self.failing.get(one.name, "")) for one in others if "plugin" in one.options]
        return found_among(self.plugins, trials)

    def found(self) -> Inventory:
        """Return the machine's devices."""
        found = [self.onnxruntime(), self.openvino()]
        return Inventory(as_devices(found), tuple(absent for one in found for absent in one.absent))


def laptop(root: Path, *, is_written: bool = False) -> Machine:
    """A hybrid processor with an integrated GPU and an NPU under OpenVINO."""
    processor = PluginAnswer("CPU", "Intel(R) Core(TM) Ultra 7 155H", ("FP32", "INT8", "BIN", "EXPORT_IMPORT"))
    graphics = PluginAnswer(
        "GPU", "Intel(R) Arc(TM) Graphics (iGPU)", ("FP32", "BIN", "FP16", "INT8", "EXPORT_IMPORT"), 16_699_998_208
    )
    npu = PluginAnswer("NPU", "Intel(R) AI Boost", ("FP16", "INT8", "EXPORT_IMPORT"), 16_699_998_208)
    files = SystemFiles(root) if is_written else recorded.laptop(root)
    return Machine(files, 16, plugins=(processor, graphics, npu))


def phone(root: Path, *, is_written: bool = False) -> Machine:
    """A big.LITTLE board with a GPU under WebGPU, XNNPACK, and an NPU whose driver is missing."""
    return Machine(
        SystemFiles(root) if is_written else recorded.phone(root).files,
        8,
        installed=("qnn", "webgpu"),
        providers=("XnnpackExecutionProvider",),
        failing={"qnn": "QNNExecutionProvider offers 0 devices here, none with number 0"},
    )


def server(root: Path, *, is_written: bool = False) -> Machine:
    """Equal cores and two GPUs, with CUDA and TensorRT."""
    providers = ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    broken = {name: "libnvinfer.so.10 is missing" for name in ("tensorrt1", "tensorrt1-f16")}
    files = SystemFiles(root) if is_written else recorded.server(root)
    return Machine(files, 16, providers=providers, gpus=parse_gpus(NVIDIA_SMI), failing=broken)


MACHINES = {"laptop": laptop, "phone": phone, "server": server}
