"""Rewrites of a slice that avoid errors of OpenVINO; by ONNX's rules all outputs stay bit-identical.

Seen on OpenVINO 2026.4: values that are joined by Concat, quantised to int8, dequantised and convolved are wrong by
tens of steps. With uint8 and a zero point 128 higher, which represents the same numbers, they are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

_SIGN = 128
"""Difference of the uint8 and the int8 that represent the same number."""
_PASSING = frozenset(
    {"Relu", "Identity", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "LeakyRelu", "Clip"}
)
"""Operators between Concat and QuantizeLinear that OpenVINO moves or fuses."""


def unsigned_after_concat(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantise to uint8 where joined values are quantised to int8 and dequantised again in this slice.

    A quantised value that other operators than DequantizeLinear read, or that leaves the slice, is also produced.

    Args:
        model: the model; it is not changed.

    Returns:
        The model itself where there is no such place, else a changed copy.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    found = [node for node in model.graph.node if _is_signed(node, weights) and _is_after_concat(node, model.graph)]
    if not found:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node in found:
        _make_unsigned(changed.graph, node, weights)
    return changed


def _is_signed(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    """Return whether a node quantises to int8 with a zero point that is a weight."""
    zero_point = weights.get(node.input[2]) if node.op_type == "QuantizeLinear" and len(node.input) > 2 else None
    return zero_point is not None and zero_point.data_type == TensorProto.INT8


def _is_after_concat(node: onnx.NodeProto, graph: onnx.GraphProto) -> bool:
    makers = {name: each for each in graph.node for name in each.output}
    maker = makers.get(node.input[0])
    while maker is not None and maker.op_type in _PASSING:
        maker = makers.get(maker.input[0])
    return maker is not None and maker.op_type == "Concat"


def _make_unsigned(graph: onnx.GraphProto, node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> None:
    value = node.output[0]
    readers = [each for each in graph.node if value in each.input]
    readers_unsigned = [each for each in readers if _dequantises(each, weights)]
    if not readers_unsigned:
        return
    unsigned = f"{value}/unsigned"
    made = onnx.NodeProto.FromString(node.SerializeToString())
    made.name, made.output[0] = f"{node.name}/unsigned", unsigned
    made.input[2] = _raised(graph, node.input[2], weights)
    for reader in readers_unsigned:
        reader.input[0] = unsigned
        reader.input[2] = _raised(graph, reader.input[2], weights)
    is_needed = len(readers) > len(readers_unsigned) or any(output.name == value for output in graph.output)
    position = next(index for index, each in enumerate(graph.node) if value in each.output)
    nodes = list(graph.node)
    _replace(graph, [*nodes[:position], made, *nodes[position if is_needed else position + 1 :]])


def _dequantises(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    return node.op_type == "DequantizeLinear" and len(node.input) > 2 and node.input[2] in weights


def _raised(graph: onnx.GraphProto, name: str, weights: Mapping[str, onnx.TensorProto]) -> str:
    """Add the uint8 zero point that corresponds to an int8 one to the graph's weights, and return its name."""
    raised = f"{name}/unsigned"
    if all(tensor.name != raised for tensor in graph.initializer):
        value = numpy_helper.to_array(weights[name]).astype(np.int16) + _SIGN
        graph.initializer.append(numpy_helper.from_array(value.astype(np.uint8), raised))
    return raised


def _replace(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
