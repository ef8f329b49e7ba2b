"""Digests of layers and slices: those with the same cost on a device have the same digest, whatever their names.

A kernel's cost depends on operators, attributes, connections, element types and shapes. The *values* of dense weights
do not matter, so they are neither read nor hashed: thirty 3x3 convolutions of a residual network that differ only in
their weights are measured once, and a run with a filled cache does not read the weights' file. Values that control
the work are hashed: small integers (shapes, axes, pads, repeats), booleans, strings, and small floats (an
exponent, resize scales, a score threshold), but no quantisation scales and zero points, which change no kernel's time.

Where the work depends on values that arise only in the run (control flow, outputs whose shape is not known before), the
digest says so in ``depends_on_values``, and the cache key then also names the model and its inputs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

from mosaic_onnx.core.graph.graphs import FunctionKey, call_key, domain_of, every_node, function_key, is_constant
from mosaic_onnx.core.layers import Layer, LayerGraph, TensorInfo

_STEERING_COUNT = 4096
_SMALL_FLOAT_COUNT = 8
_STEERING_TYPES = frozenset(
    {TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING, TensorProto.UINT32, TensorProto.UINT64}
)
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})


@dataclass(frozen=True)
class Digest:
    """A layer's or slice's digest; with ``depends_on_values`` its cost depends on more than shapes."""

    text: str
    depends_on_values: bool = False


def layer_digests(
    model: onnx.ModelProto,
    nodes: Mapping[str, onnx.NodeProto],
    graph: LayerGraph,
    folder: str | None = None,
) -> tuple[Digest, ...]:
    """Return [L] the digest of each layer.

    Args:
        model: the normalised model (its initialisers, functions and operator sets count).
        nodes: its nodes by node key.
        graph: its layers.
        folder: where small external weights are read from.
    """
    facts = _Facts.of(model, graph, folder)
    return tuple(_layer_digest(facts, layer, [nodes[key] for key in layer.nodes]) for layer in graph.layers)


def slice_digest(digests: Sequence[Digest], layers: Sequence[Layer], outputs: Sequence[str]) -> Digest:
    """Return the digest of layers that run as one slice, from their digests, connections and the slice's outputs."""
    numbers: dict[str, int] = {}
    wired = [
        [one.text, [_number(numbers, x) for x in layer.inputs], [_number(numbers, x) for x in layer.outputs]]
        for one, layer in zip(digests, layers, strict=True)
    ]
    left = sorted(numbers[name] for name in outputs if name in numbers)
    return Digest(_hash([wired, left]), any(one.depends_on_values for one in digests))


@dataclass(frozen=True)
class _Facts:
    """The facts of a model that descriptions of its layers use."""

    tensors: Mapping[str, TensorInfo]
    weights: Mapping[str, TensorProto]
    functions: Mapping[FunctionKey, str]
    versions: Mapping[str, int]
    folder: str | None

    @staticmethod
    def of(model: onnx.ModelProto, graph: LayerGraph, folder: str | None) -> _Facts:
        weights = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            if is_constant(node):
                weights.update((node.output[0], a.t) for a in node.attribute if a.type == AttributeProto.TENSOR)
        versions = {domain_of(each.domain): each.version for each in model.opset_import}
        return _Facts(graph.tensors, weights, _function_digests(model), versions, folder)


def _layer_digest(facts: _Facts, layer: Layer, nodes: Iterable[onnx.NodeProto]) -> Digest:
    ids: dict[str, int] = {}
    described = [_node(facts, node, ids) for node in nodes]
    left = [ids.get(name, -1) for name in layer.outputs]
    ends = [facts.tensors.get(name) for name in (*layer.inputs, *layer.outputs)]
    unknown = any(end is None or end.shape is None for end in ends)
    steered = any(op.rpartition("::")[2] in _CONTROL_FLOW for op in layer.op_types)
    return Digest(_hash([described, left]), unknown or steered)


def _node(facts: _Facts, node: onnx.NodeProto, ids: dict[str, int]) -> list[Any]:
    domain = domain_of(node.domain)
    quantising = "Quantize" in node.op_type or node.op_type.startswith("QLinear")
    inputs = [_value(facts, name, ids, quantising) for name in node.input]
    attributes = sorted((a.name, _attribute(facts, a, ids)) for a in node.attribute)
    outputs = [_number(ids, name) if name else None for name in node.output]
    kind: list[Any] = [domain, node.op_type, node.overload, facts.versions.get(domain, 0)]
    if call_key(node) in facts.functions:
        kind.append(facts.functions[call_key(node)])
    return [kind, inputs, attributes, outputs]


def _value(facts: _Facts, name: str, ids: dict[str, int], quantising: bool) -> Any:
    """Return the number of a value; at its first use also its static facts."""
    if not name:
        return None
    if name in ids:
        return ids[name]
    number = _number(ids, name)
    if name in facts.weights:
        return [number, "weight", _weight(facts.weights[name], facts.folder, quantising)]
    info = facts.tensors.get(name)
    return [number, "input", [info.element_type, info.shape] if info else None]


def _weight(tensor: TensorProto, folder: str | None, quantising: bool = False) -> list[Any]:
    shape = list(tensor.dims)
    count = 1
    for dimension in shape:
        count *= dimension
    steering = tensor.data_type in _STEERING_TYPES and count <= _STEERING_COUNT
    small = tensor.data_type not in _STEERING_TYPES and count <= _SMALL_FLOAT_COUNT and not quantising
    described: list[Any] = [tensor.data_type, shape]
    if steering or small:
        array = numpy_helper.to_array(tensor, folder or "")
        content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
        described.append(hashlib.sha256(content).hexdigest())
    return described


def _attribute(facts: _Facts, attribute: AttributeProto, ids: dict[str, int]) -> Any:
    if attribute.type == AttributeProto.GRAPH:
        return _body(facts, attribute.g, ids)
    if attribute.type == AttributeProto.GRAPHS:
        return [_body(facts, body, ids) for body in attribute.graphs]
    if attribute.type == AttributeProto.TENSOR:
        return _weight(attribute.t, facts.folder)
    bare = AttributeProto()
    bare.CopyFrom(attribute)
    bare.ClearField("name")
    bare.ClearField("doc_string")
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def _body(facts: _Facts, body: onnx.GraphProto, outer: Mapping[str, int]) -> list[Any]:
    """Return a subgraph in its own scope; captured values keep the outer number."""
    ids = dict(outer)
    own = {tensor.name: tensor for tensor in body.initializer}
    inner = _Facts(facts.tensors, {**facts.weights, **own}, facts.functions, facts.versions, facts.folder)
    inputs = []
    for value in body.input:
        ids.pop(value.name, None)
        kind = value.type.SerializeToString(deterministic=True)
        inputs.append([_number(ids, value.name), hashlib.sha256(kind).hexdigest()])
    nodes = [_node(inner, node, ids) for node in body.node]
    return [inputs, nodes, [_value(inner, value.name, ids, False) for value in body.output]]


def _function_digests(model: onnx.ModelProto) -> dict[FunctionKey, str]:
    """Return the digest of each function, with those that it calls. Calls form no cycle: the model was checked."""
    functions = {function_key(function): function for function in model.functions}
    found: dict[FunctionKey, str] = {}

    def visit(key: FunctionKey) -> str:
        if key not in found:
            function = functions[key]
            called = [visit(call_key(node)) for node in every_node(function.node) if call_key(node) in functions]
            content = hashlib.sha256(function.SerializeToString(deterministic=True)).hexdigest()
            found[key] = _hash([content, called])
        return found[key]

    for key in functions:
        visit(key)
    return found


def _number(ids: dict[str, int], name: str) -> int:
    return ids.setdefault(name, len(ids))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()
