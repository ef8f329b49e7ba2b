"""Checks for devices of limited types: wide or wrapping integers, tensors without elements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto

from mosaic_onnx.backends.base import Array

_INT32 = np.iinfo(np.int32)
_ARITHMETIC = frozenset(
    {"Add", "Sub", "Mul", "Neg", "Pow", "Sum", "ReduceSum", "ReduceProd", "CumSum", "MatMul", "Gemm"}
)
_INTEGERS = frozenset(
    {
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT16,
        TensorProto.UINT16,
        TensorProto.INT32,
        TensorProto.UINT32,
        TensorProto.INT64,
        TensorProto.UINT64,
    }
)


def is_cut_to_32_bits(dtype: np.dtype[np.generic]) -> bool:
    """Return whether such devices hold the type in 32 signed bits, so that larger values wrap."""
    return dtype.name in ("int64", "uint64", "uint32")


def passes_32_bits(array: Array) -> bool:
    """Return whether any element lies outside 32 signed bits."""
    return bool(array.size) and bool(array.max() > _INT32.max or array.min() < _INT32.min)


def limited_to_32_bits(array: Array) -> Array:
    """Return the array with every element limited to the range of 32 signed bits."""
    return np.clip(array, _INT32.min, _INT32.max)


def integer_arithmetic(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """Return the first node that adds or multiplies integers, as far as the types are known or can be inferred."""
    nodes = [node for node in with_bodies(model.graph.node) if node.op_type in _ARITHMETIC]
    if not nodes:
        return None
    types = _known_types(model.graph)
    if any(not any(name in types for name in (*node.input, *node.output)) for node in nodes):
        types = _known_types(onnx.shape_inference.infer_shapes(model).graph)
    return next(
        (node for node in nodes if any(types.get(name) in _INTEGERS for name in (*node.input[:1], *node.output))), None
    )


def _known_types(graph: onnx.GraphProto) -> Mapping[str, int]:
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: element_type for name, element_type in {**types, **weights}.items() if element_type}


def empty_tensor(graph: onnx.GraphProto) -> str | None:
    """Return the name of a tensor that is known to have no elements; None where there is none."""
    for value in (*graph.input, *graph.value_info, *graph.output):
        if any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in value.type.tensor_type.shape.dim):
            return str(value.name)
    return next((str(tensor.name) for tensor in graph.initializer if 0 in tensor.dims), None)


def with_bodies(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield the nodes and those of their bodies (If, Loop, Scan)."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from with_bodies(attribute.g.node)
            for graph in attribute.graphs:
                yield from with_bodies(graph.node)
