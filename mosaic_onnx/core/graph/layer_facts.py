"""Static facts of layers for cost models: multiply-accumulates, weights, bytes (``LayerFacts``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import onnx
from onnx import helper

from mosaic_onnx.core.graph.graphs import node_keys
from mosaic_onnx.core.layers import LayerGraph

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
"""Concrete shapes by value name; a value that is absent has no known shape."""

_CONVOLUTIONS = {"Conv", "ConvInteger", "QLinearConv"}
_MATRIX_PRODUCTS = {"MatMul", "MatMulInteger", "QLinearMatMul"}
_RECURRENT = {"LSTM", "GRU", "RNN"}
_FUSED = {
    *("Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Gelu"),
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout", "Constant", "Shape"),
}
"""Operators that a runtime fuses into the one before, or that move no data."""

_FOUR_BITS = {onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1}
_QUANTISED_WEIGHT = {"QLinearConv": 3, "QLinearMatMul": 3}
"""Position of the weight where it is not input 1."""


@dataclass(frozen=True)
class LayerFacts:
    """Static facts of one layer, known without running it.

    Attributes:
        name: the layer's name.
        op_types: operator types of its nodes.
        macs: multiply-accumulates by class: conv1x1, convkxk, depthwise3, depthwise5, fc, other.
        parameter_bytes: weights as the model stores them.
        dense_parameter_count: weights with each depthwise kernel stored dense (C x C x k x k).
        input_bytes: bytes of the tensors read from other layers.
        output_bytes: bytes of the tensors that other layers read.
        activation_bytes: bytes of every tensor made inside.
        operator_count: nodes.
        dense_macs: as ``macs``, with depthwise kernels computed dense.
        kernel_count: nodes without those that fuse into the one before (activations) or move no data (reshapes).
        buffered_bytes: f32 bytes of the outputs of those nodes.
        parameter_count: weights as the model stores them.
        nodes: (key, node) of its nodes in topological order, for backends that cost operators by shape.
        outputs: names of the tensors that other layers or the model's caller read.
        graph: the graph that the nodes are of, for the types and shapes of their values; None where facts are all.
    """

    name: str
    op_types: tuple[str, ...]
    macs: Mapping[str, int]
    parameter_bytes: int
    dense_parameter_count: int
    input_bytes: int
    output_bytes: int
    activation_bytes: int
    operator_count: int
    dense_macs: Mapping[str, int] = field(default_factory=dict)
    kernel_count: int = 0
    buffered_bytes: int = 0
    parameter_count: int = 0
    nodes: tuple[tuple[str, onnx.NodeProto], ...] = field(default=(), compare=False, repr=False)
    outputs: tuple[str, ...] = ()
    graph: onnx.GraphProto | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class NodeFacts:
    """Static facts of one node.

    Attributes:
        macs: multiply-accumulates by class.
        dense_macs: the same with depthwise kernels computed dense (C times as many).
        extra_dense_weights: weights that storing a depthwise kernel dense adds.
        is_kernel: a runtime launches a kernel for it; false for nodes that fuse or move no data.
        buffered_bytes: f32 bytes of its outputs if it is a kernel; fused nodes write into another kernel's buffer.
    """

    macs: Mapping[str, int] = field(default_factory=dict)
    dense_macs: Mapping[str, int] = field(default_factory=dict)
    extra_dense_weights: int = 0
    is_kernel: bool = True
    buffered_bytes: int = 0


def layer_facts(graph: LayerGraph, model: onnx.ModelProto) -> tuple[LayerFacts, ...]:
    """Return the facts of every layer, in the graph's order.

    Args:
        graph: the layers.
        model: the normalised model that they were made of; shapes are taken from its value infos.
    """
    shapes = known_shapes(model.graph)
    element_counts = {tensor.name: prod(tensor.dims) for tensor in model.graph.initializer}
    nodes = dict(zip(node_keys(model.graph), model.graph.node, strict=True))
    return tuple(
        replace(
            _sum_up(
                [node_facts(nodes[key], shapes) for key in layer.nodes],
                name=layer.name,
                op_types=layer.op_types,
                parameter_bytes=layer.parameter_bytes,
                parameter_count=sum(element_counts.get(name, 0) for name in layer.parameters),
                input_bytes=sum(graph.tensors[name].bytes for name in layer.inputs),
                output_bytes=sum(graph.tensors[name].bytes for name in layer.outputs),
                activation_bytes=layer.activation_bytes,
            ),
            nodes=tuple((key, nodes[key]) for key in layer.nodes),
            outputs=layer.outputs,
            graph=model.graph,
        )
        for layer in graph.layers
    )


def whole_model_facts(model: onnx.ModelProto) -> LayerFacts:
    """Return the facts of a model taken as one layer; shapes that it does not state are inferred."""
    graph = model.graph
    shapes = known_shapes(graph)
    if any(name not in shapes for node in graph.node for name in node.output if name):
        graph = onnx.shape_inference.infer_shapes(model).graph
        shapes = known_shapes(graph)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    return _sum_up(
        [node_facts(node, shapes) for node in graph.node],
        name=graph.name,
        op_types=tuple(node.op_type for node in graph.node),
        parameter_bytes=sum(_stored_bytes(tensor) for tensor in weights.values()),
        parameter_count=sum(prod(tensor.dims) for tensor in weights.values()),
        input_bytes=sum(_value_bytes(info) for info in graph.input if info.name not in weights),
        output_bytes=sum(_value_bytes(info) for info in graph.output),
        activation_bytes=sum(_value_bytes(info) for info in (*graph.value_info, *graph.output)),
    )


def known_shapes(graph: onnx.GraphProto) -> Shapes:
    """Return the concrete shapes of initialisers, inputs, outputs and inner values."""
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for info in (*graph.input, *graph.output, *graph.value_info):
        tensor_type = info.type.tensor_type
        dimensions = tensor_type.shape.dim
        if tensor_type.HasField("shape") and all(dimension.HasField("dim_value") for dimension in dimensions):
            shapes[info.name] = tuple(dimension.dim_value for dimension in dimensions)
    return shapes


def node_facts(node: onnx.NodeProto, shapes: Shapes) -> NodeFacts:
    """Return the facts of one node; a node whose shapes are unknown has no multiply-accumulates."""
    kind, macs, dense_factor, extra_weights = _multiply_accumulates(node, shapes)
    is_kernel = node.op_type not in _FUSED
    buffered = sum(4 * prod(shapes[name]) for name in node.output if name in shapes)
    return NodeFacts(
        macs={kind: macs} if macs else {},
        dense_macs={kind: macs * dense_factor} if macs else {},
        extra_dense_weights=extra_weights,
        is_kernel=is_kernel,
        buffered_bytes=buffered if is_kernel else 0,
    )


def _sum_up(
    nodes: Sequence[NodeFacts],
    *,
    name: str,
    op_types: tuple[str, ...],
    parameter_bytes: int,
    parameter_count: int,
    input_bytes: int,
    output_bytes: int,
    activation_bytes: int,
) -> LayerFacts:
    """Return the sum of the nodes' facts, with the given fields of the layer."""
    macs: Counter[str] = Counter()
    dense_macs: Counter[str] = Counter()
    for node in nodes:
        macs.update(node.macs)
        dense_macs.update(node.dense_macs)
    return LayerFacts(
        name=name,
        op_types=op_types,
        macs=dict(macs),
        parameter_bytes=parameter_bytes,
        dense_parameter_count=parameter_count + sum(node.extra_dense_weights for node in nodes),
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        activation_bytes=activation_bytes,
        operator_count=len(nodes),
        dense_macs=dict(dense_macs),
        kernel_count=sum(node.is_kernel for node in nodes),
        buffered_bytes=sum(node.buffered_bytes for node in nodes),
        parameter_count=parameter_count,
    )


def _value_bytes(info: onnx.ValueInfoProto) -> int:
    """Return the bytes of a tensor whose shape and type are known; else 0."""
    tensor_type = info.type.tensor_type
    if not tensor_type.HasField("shape") or not all(d.HasField("dim_value") for d in tensor_type.shape.dim):
        return 0
    return _bytes(tensor_type.elem_type, prod(d.dim_value for d in tensor_type.shape.dim))


def _stored_bytes(tensor: onnx.TensorProto) -> int:
    return _bytes(tensor.data_type, prod(tensor.dims))


def _bytes(element_type: int, count: int) -> int:
    """Return the bytes of so many elements: none for text and unknown types, half a byte each for 4-bit types."""
    if element_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        return 0
    bits = 4 if element_type in _FOUR_BITS else 8 * helper.tensor_dtype_to_np_dtype(element_type).itemsize
    return (count * bits + 7) // 8


def _multiply_accumulates(node: onnx.NodeProto, shapes: Shapes) -> tuple[str, int, int, int]:
    """Return the class, the multiply-accumulates, the factor if computed dense, and the weights that density adds."""
    op_type = node.op_type
    if op_type in _CONVOLUTIONS:
        return _convolution(node, shapes)
    if op_type == "ConvTranspose":
        inputs = _shapes_of(node.input[:2], shapes)
        macs = prod(inputs[0]) * prod(inputs[1][1:]) if inputs else 0
        return "other", macs, 1, 0
    if op_type == "Gemm":
        inputs = _shapes_of([*node.output[:1], node.input[0]], shapes)
        transposed = _attribute(node, "transA", 0)
        return "fc", prod(inputs[0]) * inputs[1][0 if transposed else 1] if inputs else 0, 1, 0
    if op_type in _MATRIX_PRODUCTS:
        inputs = _shapes_of([*node.output[:1], node.input[0]], shapes)
        weight = node.input[_QUANTISED_WEIGHT.get(op_type, 1)]
        kind = "fc" if len(shapes.get(weight, ())) == 2 else "other"
        return kind, prod(inputs[0]) * inputs[1][-1] if inputs and inputs[1] else 0, 1, 0
    if op_type == "MatMulNBits":
        outputs = _shapes_of(node.output[:1], shapes)
        return "fc", prod(outputs[0]) * _attribute(node, "K", 0) if outputs else 0, 1, 0
    if op_type in _RECURRENT:
        return "other", _recurrent(node, shapes), 1, 0
    return "other", 0, 1, 0


def _convolution(node: onnx.NodeProto, shapes: Shapes) -> tuple[str, int, int, int]:
    weight_name = node.input[_QUANTISED_WEIGHT.get(node.op_type, 1)]
    known = _shapes_of([weight_name, *node.output[:1]], shapes)
    if not known:
        return "convkxk", 0, 1, 0
    weight, output = known
    macs = prod(output) * prod(weight[1:])
    groups = _attribute(node, "group", 1)
    if groups > 1 and weight[1] == 1:
        kind = "depthwise3" if max(weight[2:], default=1) <= 3 else "depthwise5"
        return kind, macs, groups, prod(weight) * (groups - 1)
    return "conv1x1" if prod(weight[2:]) == 1 else "convkxk", macs, 1, 0


def _recurrent(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Return steps × batch × directions × gates × hidden × (input + hidden)."""
    known = _shapes_of(node.input[:3], shapes)
    if not known:
        return 0
    x, w, r = known
    return prod(x[:2]) * (prod(w) + prod(r))


def _shapes_of(names: Iterable[str], shapes: Shapes) -> list[Shape]:
    """Return the shapes of all the names; empty if one is unknown."""
    names = list(names)
    return [shapes[name] for name in names] if all(name in shapes for name in names) else []


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    for attribute in node.attribute:
        if attribute.name == name:
            return int(helper.get_attribute_value(attribute))
    return default
