"""A device that rounds, and a model that it rounds: real arithmetic, no vendor's library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

from mosaic_onnx.backends.base import Array, FoundDevices, Place, Runner, SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.loading.model import open_model
from mosaic_onnx.loading.normalise import Normalised, normalise

CPU = Device("cpu", backend="onnxruntime", options={"threads": 1})
ROUGH = Device("rough", backend="rough", precision="bf16")


class RoughBackend:
    """ONNX Runtime whose slices' float outputs are cut to bfloat16's bits."""

    name = "rough"

    def find(self) -> FoundDevices:
        return FoundDevices((ROUGH,))

    def supports(self, node: onnx.NodeProto, device: Device) -> str | None:
        return None

    def load(self, model: SliceModel, device: Device) -> Runner:
        return _Rough(BACKEND.load(model, replace(CPU, name=device.name)))

    def memory(self, device: Device) -> None:
        return None

    def can_crash(self, device: Device) -> bool:
        return False


class _Rough:
    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {name: rounded(array) for name, array in self._runner.run(inputs).items()}

    def bind(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Callable[[], None]:
        raise BackendError("the rough device binds nothing")

    def assignment(self) -> None:
        return None

    def close(self) -> None:
        self._runner.close()


def rounded(array: Array) -> Array:
    """The upper 16 bits of each float32."""
    if array.dtype != np.float32:
        return array
    return (np.ascontiguousarray(array).view(np.uint32) & 0xFFFF0000).view(np.float32)


def chain_model(layer_count: int = 4, width: int = 16) -> onnx.ModelProto:
    """MatMuls in a row, the last one into ten classes, with drawn weights."""
    random = np.random.default_rng(0)
    widths = [width] * layer_count + [10]
    names = ["x", *(f"t{n}" for n in range(1, layer_count)), "y"]
    nodes = "\n".join(f"{names[n + 1]} = MatMul({names[n]}, w{n})" for n in range(layer_count))
    text = f'<ir_version: 8, opset_import: ["": 17]> g (float[1,{width}] x) => (float[1,10] y) {{ {nodes} }}'
    model = parser.parse_model(text)
    for n in range(layer_count):
        weight = random.standard_normal((widths[n], widths[n + 1])).astype(np.float32) / width**0.5
        model.graph.initializer.append(numpy_helper.from_array(weight, f"w{n}"))
    return model


def normalised(model: onnx.ModelProto, folder: Path) -> Normalised:
    """The model as the passes see it."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    return normalise(open_model(path), {})


def layers_of(model: Normalised):  # type: ignore[no-untyped-def]
    return layerize(model, "node")
