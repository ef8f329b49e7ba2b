"""Try a provider in a process of its own: ``python -m mosaic_onnx.backends.onnxruntime.probe``, a device in, JSON out.

A provider may be installed and yet have no driver, may crash, and may keep for good the options that it was first
given; none of that must befall the process that only asks which devices are here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import MosaicError

_TIME_LIMIT_S = 60.0


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """What the trial showed.

    Attributes:
        reason: why the device cannot run; empty where it can.
        hardware: kind of hardware device that the provider runs on: ``cpu``, ``gpu``, ``npu``.
        version: the provider's version.
    """

    reason: str
    hardware: str = ""
    version: str = ""


def probe(devices: Sequence[Device]) -> list[ProbeResult]:
    """Try each device in a child process, all at once; never raises for what a child does."""
    children = [_start(device) for device in devices]
    return [_verdict(child) for child in children]


def _start(device: Device) -> subprocess.Popen[str]:
    request = json.dumps({"name": device.name, "options": dict(device.options)})
    command = [sys.executable, "-m", "mosaic_onnx.backends.onnxruntime.probe", request]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _verdict(child: subprocess.Popen[str]) -> ProbeResult:
    try:
        out, said = child.communicate(timeout=_TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return ProbeResult(f"it gave no answer within {_TIME_LIMIT_S:.0f} s")
    try:
        return ProbeResult(**json.loads(out.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        ending = f"signal {-child.returncode}" if child.returncode < 0 else f"status {child.returncode}"
        return ProbeResult(f"its trial ended with {ending}: {said.strip()[-200:]}")


def main() -> None:
    """Try the device that the argument describes, and write the verdict as the last line of stdout."""
    request = json.loads(sys.argv[1])
    answer = os.dup(1)
    os.dup2(2, 1)  # vendors print to stdout
    try:
        verdict = _try(Device(request["name"], options=request["options"]))
    except MosaicError as error:
        reason = _hardware_missing(request) + error.message.removeprefix(f"slice 'probe' on {request['name']}: ")
        verdict = ProbeResult(f"{reason} ({error.hint})" if error.hint else reason)
    with os.fdopen(answer, "w") as stream:
        stream.write(json.dumps(dataclasses.asdict(verdict)) + "\n")


def _hardware_missing(request: Mapping[str, Any]) -> str:
    """Return what ONNX Runtime does not say where its CUDA provider finds nothing to run on; empty elsewhere."""
    from mosaic_onnx.backends.onnxruntime.cuda import gpu_words
    from mosaic_onnx.backends.onnxruntime.provider_facts import CUDA

    if request["options"].get("provider") != CUDA or gpu_words():
        return ""
    return "no NVIDIA GPU with a driver (nvidia-smi finds none): "


def _try(device: Device) -> ProbeResult:
    """Load and run a slice of one node.

    Raises:
        MosaicError: the provider failed.
    """
    import numpy as np
    from onnx import TensorProto, helper

    from mosaic_onnx.backends.base import SliceModel
    from mosaic_onnx.backends.onnxruntime.backend import BACKEND
    from mosaic_onnx.backends.onnxruntime.cuda import gpu_words
    from mosaic_onnx.backends.onnxruntime.options import read_options

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="relu")], "probe", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = read_options(device)
    output = BACKEND.load(SliceModel(model, None, ("x",), ("y",)), device).run({"x": -np.ones((1, 4), np.float32)})
    if output["y"].any():
        return ProbeResult("it computes Relu wrongly")
    if not options.is_plugin:
        return ProbeResult("", "gpu", gpu_words(options.hardware))
    facts: Mapping[str, str] = BACKEND.plugins.facts(options)
    return ProbeResult("", facts["hardware"], facts["version"])


if __name__ == "__main__":
    main()
