"""An ONNX model as layers of an NPU: convolutions with what fuses behind them, vector work, refusals with reasons."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import onnx

from mosaic_onnx.core.graph.graphs import initializer_names, node_keys, operator_name, subgraphs
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.arithmetic import ARITHMETIC, Shapes, nest_of
from mosaic_onnx.npu.layers.nest import LoopNest, ModelLayers, NpuLayer, Refused
from mosaic_onnx.npu.layers.vector import ACTIVATIONS, FREE, VECTOR, vector_work

_FUSED_WITH_CONSTANT = {"Add", "Mul", "Sub", "Div", "BatchNormalization"}
"""Fuse behind a convolution where the other operand is a parameter: bias, scale, normalisation."""
_NUMBERS = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.INT8,
    onnx.TensorProto.UINT8,
    onnx.TensorProto.INT16,
    onnx.TensorProto.INT32,
    onnx.TensorProto.BOOL,
}
"""Element types that an NPU's memory holds; 64-bit integers (shapes, indices) and text are the host's."""


def read_model(path: str | os.PathLike[str], hardware: Hardware) -> ModelLayers:
    """Open a model file that nobody vouches for and return its layers for an NPU.

    Args:
        path: the ``.onnx`` file; free dimensions get defaults as everywhere.
        hardware: decides what is refused.

    Raises:
        ModelError: the file is refused.
    """
    from mosaic_onnx.loading.model import open_model
    from mosaic_onnx.loading.normalise import normalise

    found = layers_of_model(normalise(open_model(path)).model, hardware)
    return replace(found, name=os.path.basename(os.fspath(path)))


def layers_of_model(model: onnx.ModelProto, hardware: Hardware) -> ModelLayers:
    """Return the layers of a model whose value infos state every shape.

    Args:
        model: sorted, with concrete shapes (``loading.normalise`` makes it so; shapes are inferred where absent).
        hardware: decides what is refused.
    """
    graph = model.graph
    if not graph.value_info and graph.node:
        graph = onnx.shape_inference.infer_shapes(model).graph
    nodes = list(zip(node_keys(graph), graph.node, strict=True))
    readers = _reader_counts(nodes, [value.name for value in graph.output])
    layers, refused = layers_of_nodes(nodes, value_facts(graph), readers, hardware)
    return ModelLayers(model.graph.name, layers, refused, _followers(layers, dict(nodes), readers))


def layers_of_part(
    nodes: Sequence[tuple[str, onnx.NodeProto]], outputs: Iterable[str], values: ValueFacts, hardware: Hardware
) -> tuple[tuple[NpuLayer, ...], tuple[Refused, ...]]:
    """Return the layers of some nodes of a graph, and what the hardware refuses of them.

    Args:
        nodes: (key, node) in topological order.
        outputs: values that others read; nothing fuses over them.
        values: of the graph.
        hardware: decides what is refused.
    """
    return layers_of_nodes(nodes, values, _reader_counts(nodes, outputs), hardware)


@dataclass(frozen=True)
class ValueFacts:
    """Facts of a graph's values: shapes, element types, which of them are parameters."""

    shapes: Shapes
    types: Mapping[str, int]
    parameters: frozenset[str]


def value_facts(graph: onnx.GraphProto) -> ValueFacts:
    """Return the facts of a graph's values, as far as it states them."""
    return ValueFacts(known_shapes(graph), element_types(graph), frozenset(initializer_names(graph)))


def layers_of_nodes(
    nodes: Sequence[tuple[str, onnx.NodeProto]], view: ValueFacts, readers: Mapping[str, int], hardware: Hardware
) -> tuple[tuple[NpuLayer, ...], tuple[Refused, ...]]:
    """Return the layers of nodes in topological order; a node that fuses into one before makes none."""
    constants = view.parameters | {out for _, node in nodes if node.op_type == "Constant" for out in node.output}
    layers: list[NpuLayer] = []
    refused: list[Refused] = []
    tail: dict[str, int] = {}  # the value at the end of a fused layer → the layer's index
    for key, node in nodes:
        at = next((tail[name] for name in node.input if name in tail and readers[name] == 1), None)
        if at is not None and (grown := _fused(layers[at], key, node, view, constants)) is not None:
            layers[at] = grown
            tail[node.output[0]] = at
            continue
        if node.op_type in FREE and not list(subgraphs(node)):
            _pass_through(node, tail, readers)
            continue
        made = _layer(key, node, view, hardware)
        if isinstance(made, Refused):
            refused.append(made)
            continue
        layers.append(made)
        if isinstance(made, LoopNest):
            tail[node.output[0]] = len(layers) - 1
    return tuple(layers), tuple(refused)


def _followers(
    layers: Sequence[NpuLayer], nodes: Mapping[str, onnx.NodeProto], readers: Mapping[str, int]
) -> tuple[int | None, ...]:
    """Return for each layer the nest that alone reads its result, through no other node."""
    reading = {
        nodes[layer.nodes[0]].input[0]: at
        for at, layer in enumerate(layers)
        if isinstance(layer, LoopNest) and layer.nodes
    }
    made = [nodes[layer.nodes[-1]].output[0] if layer.nodes else "" for layer in layers]
    return tuple(reading.get(name) if readers.get(name) == 1 else None for name in made)


def _layer(key: str, node: onnx.NodeProto, view: ValueFacts, hardware: Hardware) -> NpuLayer | Refused:
    """Return one node's layer, or why the hardware does not take it."""
    operator = operator_name(node)
    if operator in hardware.operators.refused:
        return Refused(key, operator, hardware.operators.refused[operator] or "the hardware's description refuses it")
    if node.domain not in ("", "ai.onnx", "com.microsoft"):
        return Refused(key, operator, f"operators of the domain {node.domain} are not known here")
    if list(subgraphs(node)):
        return Refused(key, operator, "control flow is the host's")
    if node.op_type not in ARITHMETIC and node.op_type not in VECTOR:
        return Refused(key, operator, f"{operator} has no form on the array or the vector unit")
    strange = next((view.types[name] for name in node.output if view.types.get(name, 1) not in _NUMBERS), None)
    if strange is not None:
        return Refused(key, operator, f"it makes {onnx.TensorProto.DataType.Name(strange)}, which is the host's")
    if node.op_type in ARITHMETIC:
        return nest_of(node, key, view.shapes)
    return vector_work(node, key, view.shapes)


def _fused(
    layer: NpuLayer, key: str, node: onnx.NodeProto, view: ValueFacts, constants: Iterable[str]
) -> NpuLayer | None:
    """Return the layer with the node fused behind it; None where the node stays a layer of its own."""
    if not isinstance(layer, LoopNest):
        return None
    grown = replace(layer, nodes=(*layer.nodes, key), fused=(*layer.fused, node.op_type))
    if node.op_type in ACTIVATIONS or node.op_type in ("QuantizeLinear", "DequantizeLinear", "Identity", "Cast"):
        return grown
    others = [name for name in node.input if name and name in set(constants)]
    if node.op_type in _FUSED_WITH_CONSTANT and len(others) == len([name for name in node.input if name]) - 1:
        return grown
    shapes = [view.shapes.get(name) for name in (*node.input[:2], node.output[0])]
    is_residual = node.op_type == "Add" and shapes[0] is not None and shapes[0] == shapes[1] == shapes[2]
    if is_residual and not layer.residual_elements:
        return replace(grown, residual_elements=prod(shapes[0] or ()))
    return None


def _pass_through(node: onnx.NodeProto, tail: dict[str, int], readers: Mapping[str, int]) -> None:
    """Let a view stand between a layer and what fuses behind it only where it keeps the layout: it does not."""
    if node.op_type in ("Identity", "Dropout") and node.input[0] in tail and readers[node.input[0]] == 1:
        tail[node.output[0]] = tail[node.input[0]]


def _reader_counts(nodes: Sequence[tuple[str, onnx.NodeProto]], outputs: Iterable[str]) -> dict[str, int]:
    """Return how many nodes read each value; one that leaves these nodes counts as one more."""
    counts: dict[str, int] = {}
    for _, node in nodes:
        for name in node.input:
            counts[name] = counts.get(name, 0) + 1
    for name in outputs:
        counts[name] = counts.get(name, 0) + 1
    return counts


def known_shapes(graph: onnx.GraphProto) -> Shapes:
    """Return the concrete shapes of parameters, inputs, outputs and inner values."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for info in (*graph.input, *graph.output, *graph.value_info):
        tensor_type = info.type.tensor_type
        if tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor_type.shape.dim):
            shapes[info.name] = tuple(dim.dim_value for dim in tensor_type.shape.dim)
    for node in graph.node:
        if node.op_type == "Constant":
            shapes.update((node.output[0], tuple(each.t.dims)) for each in node.attribute if each.HasField("t"))
    return shapes


def element_types(graph: onnx.GraphProto) -> Mapping[str, int]:
    """Return the element types of inputs, outputs and inner values, as far as they are stated."""
    every = (*graph.input, *graph.output, *graph.value_info)
    return {info.name: info.type.tensor_type.elem_type for info in every if info.type.tensor_type.elem_type}
