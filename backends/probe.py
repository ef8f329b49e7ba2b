"""Try a device in a process of its own: ``python -m mosaic_onnx.backends.probe``, a request in, JSON out.

A runtime may be installed without a driver, may crash, and may keep the options that it was first given; none of that
may affect the process that looks for devices.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from mosaic_onnx.backends.base import Backend, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import MosaicError
from mosaic_onnx.core.process.module_command import module_command

_TIME_LIMIT_S = 60.0


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """The result of trying a device.

    Attributes:
        reason: why the device cannot run; empty where it can.
        hardware: kind of hardware device that it runs on: ``cpu``, ``gpu``, ``npu``; empty where unknown.
        version: of the provider and its driver.
        memory_bytes: of the device's own memory; 0 where unknown.
    """

    reason: str
    hardware: str = ""
    version: str = ""
    memory_bytes: int = 0


@runtime_checkable
class Describes(Protocol):
    """A backend that can describe the hardware of its devices."""

    def describe(self, device: Device) -> ProbeResult:
        """Return the description of a device on which a slice has run; ``reason`` stays empty."""

    def why_missing(self, device: Device) -> str:
        """Return why the device's hardware is missing, if its runtime does not tell; else empty."""


def probe(address: str, devices: Sequence[Device]) -> list[ProbeResult]:
    """Try each device in a child process, all at the same time; failures of children are results, not raised.

    Args:
        address: ``module:NAME`` of the backend.
        devices: the devices to try.
    """
    children = [_start(address, device) for device in devices]
    return [_verdict(child) for child in children]


def _start(address: str, device: Device) -> subprocess.Popen[str]:
    request = {"backend": address, "name": device.name, "precision": device.precision, "options": dict(device.options)}
    command = module_command("mosaic_onnx.backends.probe", json.dumps(request))
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
    module, _, name = request["backend"].partition(":")
    backend: Backend = getattr(importlib.import_module(module), name)
    device = Device(request["name"], request["backend"], request["precision"], options=request["options"])
    with os.fdopen(answer, "w") as stream:
        stream.write(json.dumps(dataclasses.asdict(_try(backend, device))) + "\n")


def _try(backend: Backend, device: Device) -> ProbeResult:
    """Load and run a slice of one node, and return the result."""
    import numpy as np
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="relu")], "probe", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    try:
        runner = backend.load(SliceModel(model, None, ("x",), ("y",)), device)
        output = runner.run({"x": -np.ones((1, 4), np.float32)})
        if output["y"].any():
            return ProbeResult("it computes Relu wrongly")
        return backend.describe(device) if isinstance(backend, Describes) else ProbeResult("")
    except MosaicError as error:
        missing = backend.why_missing(device) if isinstance(backend, Describes) else ""
        reason = missing + error.message.removeprefix(f"slice 'probe' on {device.name}: ")
        return ProbeResult(f"{reason} ({error.hint})" if error.hint else reason)


if __name__ == "__main__":
    main()
