"""Small models, normalised in this process, and their layers."""

from __future__ import annotations

import onnx
from onnx import helper

from mosaic_onnx.core.graph.graphs import node_keys
from mosaic_onnx.core.layers import LayerGraph, TensorInfo
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.profiling.digest import Digest, layer_digests


def normalised(text: str) -> Normalised:
    """A model from ONNX text, its shapes inferred; what ``normalise`` does for files, without its child process."""
    return normalised_model(onnx.parser.parse_model(text))


def normalised_model(model: onnx.ModelProto) -> Normalised:
    model = onnx.shape_inference.infer_shapes(model, strict_mode=False)
    graph = model.graph
    tensors = {value.name: _info(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    for weight in graph.initializer:
        shape = tuple(weight.dims)
        tensors[weight.name] = TensorInfo(weight.name, weight.data_type, shape, _bytes(weight.data_type, shape))
    return Normalised(model, "", tensors)


def digests_of(one: Normalised, graph: LayerGraph | None = None) -> tuple[Digest, ...]:
    model = one.model
    nodes = dict(zip(node_keys(model.graph), model.graph.node, strict=True))
    return layer_digests(model, nodes, graph or layerize(one, "node"))


def _info(value: onnx.ValueInfoProto) -> TensorInfo:
    kind = value.type.tensor_type
    if not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in kind.shape.dim):
        return TensorInfo(value.name, kind.elem_type, None, 0)
    shape = tuple(dim.dim_value for dim in kind.shape.dim)
    return TensorInfo(value.name, kind.elem_type, shape, _bytes(kind.elem_type, shape))


def _bytes(element_type: int, shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count * helper.tensor_dtype_to_np_dtype(element_type).itemsize


class ScriptedClock:
    """Stands for the module ``time``: nothing but ``sleep`` takes time, and that exactly what it says."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
