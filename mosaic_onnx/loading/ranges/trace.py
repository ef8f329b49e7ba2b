"""Ranges of a model's inputs, traced back from the operators that index, size or divide by them.

A ``Gather`` over 100 rows allows the indices 0…99; going back through the nodes before it (casts, reshapes, sums,
subgraphs), that becomes a range of the model's inputs. The rules of the single operators are in ``rules``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from mosaic_onnx.loading.ranges.known_values import KnownValues
from mosaic_onnx.loading.ranges.node_context import NodeContext, careful
from mosaic_onnx.loading.ranges.rules import RULES
from mosaic_onnx.loading.ranges.value_range import Range

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Scope:
    """A graph that is being traced, and the scope around it."""

    graph: onnx.GraphProto
    known: KnownValues
    shapes: Shapes
    types: Mapping[str, int]
    opset: int


def input_ranges(model: onnx.ModelProto) -> dict[str, Range]:
    """Return the range of each of the model's inputs that some operator limits; the others are absent.

    Args:
        model: topologically sorted, shapes inferred where they can be; its local functions are traced too.
    """
    model = _without_functions(model)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    wanted = _trace(_scope(model.graph, opset, None), {})
    return {value.name: wanted[value.name] for value in model.graph.input if value.name in wanted}


def concrete_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Return the fully known shapes of this graph's tensors (without its subgraphs')."""
    shapes = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(
            dim.HasField("dim_value") and dim.dim_value >= 0 for dim in tensor.shape.dim
        ):
            shapes[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
    shapes.update({tensor.name: tuple(tensor.dims) for tensor in graph.initializer})
    return shapes


def _without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    if not model.functions:
        return model
    from onnx import inliner, shape_inference

    return shape_inference.infer_shapes(inliner.inline_local_functions(model))


def _scope(graph: onnx.GraphProto, opset: int, outer: _Scope | None) -> _Scope:
    shapes = (dict(outer.shapes) if outer else {}) | concrete_shapes(graph)
    types = dict(outer.types) if outer else {}
    types |= {
        value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)
    }
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return _Scope(graph, KnownValues(graph, shapes, opset, outer.known if outer else None), shapes, types, opset)


def _trace(scope: _Scope, wanted: dict[str, Range]) -> dict[str, Range]:
    """Trace a graph from its end; ``wanted`` starts with the ranges demanded of its outputs."""
    for node in reversed(scope.graph.node):
        context = NodeContext(node, wanted, scope.shapes, scope.types, scope.known, scope.opset)
        for name, asked in _asked_by(context, scope):
            if name:
                wanted[name] = wanted[name].meet(asked) if name in wanted else asked
    return wanted


def _asked_by(context: NodeContext, scope: _Scope) -> list[tuple[str, Range]]:
    bodies = {
        attribute.name: attribute.g
        for attribute in context.node.attribute
        if attribute.type == onnx.AttributeProto.GRAPH
    }
    asked = [pair for name, body in bodies.items() for pair in _asked_by_body(context.node, name, body, context, scope)]
    rule = RULES.get(context.node.op_type)
    if rule is not None:
        asked += rule(context)
    elif not bodies:
        asked += careful(context)
    return asked


def _asked_by_body(
    node: onnx.NodeProto, attribute: str, body: onnx.GraphProto, context: NodeContext, scope: _Scope
) -> list[tuple[str, Range]]:
    """Return the ranges that a subgraph demands of its captured tensors and of its node's inputs."""
    inner = _scope(body, scope.opset, scope)
    outputs = _body_outputs(node, body)
    start = {
        inside: context.wanted[outside]
        for inside, outside in zip(outputs, node.output, strict=False)
        if outside in context.wanted
    }
    found = _trace(inner, start)
    formal = _formal_inputs(node, attribute, body)
    local = {value.name for value in body.input} | {name for each in body.node for name in each.output}
    asked = [(actual, found[inside]) for inside, actual in formal if inside in found]
    return asked + [(name, range_) for name, range_ in found.items() if name not in local]


def _body_outputs(node: onnx.NodeProto, body: onnx.GraphProto) -> Sequence[str]:
    names = [value.name for value in body.output]
    return names[1:] if node.op_type == "Loop" else names


def _formal_inputs(node: onnx.NodeProto, attribute: str, body: onnx.GraphProto) -> list[tuple[str, str]]:
    """Return (name inside the body, name of the node's input) for each input of a body."""
    names = [value.name for value in body.input]
    if node.op_type == "Loop":
        return list(zip(names[2:], node.input[2:], strict=False))
    if node.op_type == "Scan":
        return list(zip(names, node.input, strict=False))
    if attribute in ("decoder", "encoder", "init_decoder"):  # contrib searches: the body reads the same ids
        return [(names[0], node.input[0])] if names else []
    return []
