"""Three recorded machines: which devices are found, which take part by default, and why the others do not.

The answers of the operating system and of the vendors' runtimes are recorded properties; what follows from them is kept
in ``machines/*.json``. After an intended change, run this file with ``MOSAIC_RENEW_GOLDEN=1``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mosaic_onnx.backends.base import FoundDevices, as_devices
from mosaic_onnx.backends.hardware.system import SystemFiles
from mosaic_onnx.backends.onnxruntime.backend import cpu_devices, judged
from mosaic_onnx.backends.onnxruntime.cuda import NvidiaGpu, parse_gpus
from mosaic_onnx.backends.onnxruntime.offers import built_in_devices, unknown_providers
from mosaic_onnx.backends.openvino.backend import found_among
from mosaic_onnx.backends.openvino.offers import PluginAnswer, offered
from mosaic_onnx.backends.probe import ProbeResult
from mosaic_onnx.discovery.registry import Inventory, left_out, select_devices
from tests.unit.backends.hardware import recorded

GOLDEN = Path(__file__).parent / "machines"
NVIDIA_SMI = "NVIDIA A100-SXM4-40GB, 550.54.15, 40960\nNVIDIA A100-SXM4-40GB, 550.54.15, 40960\n"


@dataclass(frozen=True)
class Machine:
    """The answers of a machine's system and runtimes.

    Attributes:
        files: of the system.
        providers: built into its ONNX Runtime, beside the CPU's.
        gpus: that NVIDIA's driver lists.
        plugins: that OpenVINO lists.
        failing: devices whose trial fails, with the reason.
    """

    files: SystemFiles
    providers: tuple[str, ...] = ()
    gpus: tuple[NvidiaGpu, ...] = ()
    plugins: tuple[PluginAnswer, ...] = ()
    failing: dict[str, str] = field(default_factory=dict)

    def found(self) -> Inventory:
        tried = built_in_devices(self.providers, self.gpus)
        verdicts = [
            ProbeResult(
                self.failing.get(device.name, ""),
                "gpu",
                memory_bytes=self.gpus[int(device.options.get("hardware", 0))].memory_bytes if self.gpus else 0,
            )
            for device in tried
        ]
        others, _ = offered(self.plugins)
        trials = [ProbeResult(self.failing.get(one.name, "")) for one in others if "plugin" in one.options]
        found = [
            FoundDevices(cpu_devices(self.files)),
            judged(tried, verdicts),
            *([found_among(self.plugins, trials)] if self.plugins else []),
        ]
        absent = [one for each in found for one in each.absent]
        assert unknown_providers(self.providers) == {}
        return Inventory(as_devices(found), tuple(absent))


def laptop(root: Path) -> Machine:
    """A hybrid processor with an integrated GPU and an NPU under OpenVINO."""
    processor = PluginAnswer("CPU", "Intel(R) Core(TM) Ultra 7 155H", ("FP32", "INT8", "BIN", "EXPORT_IMPORT"))
    graphics = PluginAnswer(
        "GPU", "Intel(R) Arc(TM) Graphics (iGPU)", ("FP32", "BIN", "FP16", "INT8", "EXPORT_IMPORT"), 16_699_998_208
    )
    npu = PluginAnswer("NPU", "Intel(R) AI Boost", ("FP16", "INT8", "EXPORT_IMPORT"), 16_699_998_208)
    return Machine(recorded.laptop(root), plugins=(processor, graphics, npu))


def phone(root: Path) -> Machine:
    """A big.LITTLE board whose ONNX Runtime has XNNPACK and a GPU provider that finds no driver."""
    reason = "it gave no answer within 60 s"
    providers = ("XnnpackExecutionProvider", "DmlExecutionProvider")
    return Machine(recorded.phone(root).files, providers, failing={"dml": reason})


def server(root: Path) -> Machine:
    """Equal cores and two GPUs, with CUDA and TensorRT."""
    providers = ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    broken = {name: "libnvinfer.so.10 is missing" for name in ("tensorrt1", "tensorrt1-f16")}
    return Machine(recorded.server(root), providers, parse_gpus(NVIDIA_SMI), failing=broken)


def described(inventory: Inventory) -> dict[str, object]:
    chosen = select_devices([], inventory)
    lower = select_devices([], inventory, lower=True)
    return {
        "devices": {
            name: {
                "backend": device.backend,
                "precision": device.precision,
                "memory_bytes": device.memory_bytes,
                "options": dict(device.options),
            }
            for name, device in inventory.devices.items()
        },
        "take part": names(chosen),
        "join for an error budget": [name for name in names(lower) if name not in names(chosen)],
        "left out": {each.name: each.reason for each in left_out(chosen, inventory)},
        "not here": {each.name: each.reason for each in inventory.absent},
    }


def names(devices: Sequence[object]) -> list[str]:
    return [str(getattr(device, "name", "")) for device in devices]


@pytest.mark.parametrize("machine", [laptop, phone, server], ids=lambda machine: machine.__name__)
def test_a_recorded_machine_has_the_devices_of_its_golden_file(machine: object, tmp_path: Path) -> None:
    assert callable(machine)
    seen = described(machine(tmp_path).found())
    golden = GOLDEN / f"{machine.__name__}.json"
    if os.environ.get("MOSAIC_RENEW_GOLDEN"):
        golden.write_text(json.dumps(seen, indent=2) + "\n")
    assert seen == json.loads(golden.read_text())
