"""Rewrite operators that a provider lacks into ones that it has: pure functions from a node to its replacement.

All tensors of the node that are read are still produced, with the same name, type, shape and meaning; the node that
produces the first of them keeps the node's name. New tensors and nodes get unused names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper

from mosaic_onnx.backends.base import Array
from mosaic_onnx.backends.onnxruntime.types import numpy_type


@dataclass(frozen=True)
class Scope:
    """The facts of the graph that rules use.

    Attributes:
        opset: version of the default operator set.
        element_types: ONNX element type of each tensor where it is known.
        shapes: shape of each tensor where it is fully known.
        taken: names that are in use.
        read: tensors that a node reads or that are graph outputs.
    """

    opset: int
    element_types: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    taken: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()


class Draft:
    """The nodes with which a rule replaces one node."""

    def __init__(self, node: onnx.NodeProto, scope: Scope) -> None:
        self._node = node
        self._scope = scope
        self._numbers = count()
        self.nodes: list[onnx.NodeProto] = []

    def add(self, operator: str, inputs: Iterable[str], output: str = "", **attributes: Any) -> str:
        """Append a node and return its output's name; the producer of the replaced node's output gets its name."""
        name = self._node.name if output == self._node.output[0] else self._fresh(self._node.name or "legal")
        output = output or self._fresh(self._node.output[0])
        made = helper.make_node(operator, list(inputs), [output], name=name, **attributes)
        made.metadata_props.extend(self._node.metadata_props)
        self.nodes.append(made)
        return output

    def constant(self, value: Array) -> str:
        """Append a Constant and return its output's name."""
        return self.add("Constant", [], value=numpy_helper.from_array(value))

    def _fresh(self, stem: str) -> str:
        return next(name for number in self._numbers if (name := f"{stem}/legal{number}") not in self._scope.taken)


Rule = Callable[[onnx.NodeProto, Scope], list[onnx.NodeProto] | None]
"""Returns the nodes that replace a node; None where the rule does not apply."""


def legalise(model: onnx.ModelProto, operators: Collection[str]) -> onnx.ModelProto:
    """Apply the rules of some operators wherever possible, also in bodies of If, Loop and Scan.

    Args:
        model: the model; it is not changed.
        operators: keys of ``RULES``.

    Returns:
        The model itself where no rule applies, else a changed copy.
    """
    if not _has_any(model.graph.node, operators):
        return model
    scope = _scope(model)
    if not _fits_any(model.graph.node, operators, scope):
        return model
    legal = onnx.ModelProto()
    legal.CopyFrom(model)
    _rewrite(legal.graph, operators, scope)
    return legal


def _scope(model: onnx.ModelProto) -> Scope:
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 1)
    types: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        tensor = value.type.tensor_type
        if tensor.elem_type:
            types[value.name] = tensor.elem_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
    for weight in model.graph.initializer:
        types[weight.name], shapes[weight.name] = weight.data_type, tuple(weight.dims)
    return Scope(opset, types, shapes, frozenset(_names(model.graph)), frozenset(_read(model.graph)))


def _names(graph: onnx.GraphProto) -> Iterable[str]:
    yield from (value.name for value in (*graph.input, *graph.initializer))
    for node in graph.node:
        yield node.name
        yield from node.output
        for body in _bodies(node):
            yield from _names(body)


def _read(graph: onnx.GraphProto) -> Iterable[str]:
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from filter(None, node.input)
        for body in _bodies(node):
            yield from _read(body)


def _bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    bodies: list[onnx.GraphProto] = []
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            bodies.append(attribute.g)
        bodies.extend(attribute.graphs)
    return bodies


def _replacement(node: onnx.NodeProto, operators: Collection[str], scope: Scope) -> list[onnx.NodeProto] | None:
    if node.domain not in ("", "ai.onnx") or node.op_type not in operators:
        return None
    return RULES[node.op_type](node, scope)


def _has_any(nodes: Iterable[onnx.NodeProto], operators: Collection[str]) -> bool:
    """Return whether any rule may apply; collecting the facts of a large graph takes seconds."""
    return bool(operators) and any(
        node.op_type in operators or any(_has_any(body.node, operators) for body in _bodies(node)) for node in nodes
    )


def _fits_any(nodes: Iterable[onnx.NodeProto], operators: Collection[str], scope: Scope) -> bool:
    return any(
        _replacement(node, operators, scope) is not None
        or any(_fits_any(body.node, operators, scope) for body in _bodies(node))
        for node in nodes
    )


def _rewrite(graph: onnx.GraphProto, operators: Collection[str], scope: Scope) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for body in _bodies(node):
            _rewrite(body, operators, scope)
        nodes.extend(_replacement(node, operators, scope) or [node])
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def sum_as_adds(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto] | None:
    """Replace Sum(a, b, c) by Add(Add(a, b), c)."""
    draft = Draft(node, scope)
    _add_up(draft, node, node.output[0])
    return draft.nodes


def _add_up(draft: Draft, node: onnx.NodeProto, output: str) -> str:
    if len(node.input) == 1:
        return draft.add("Identity", node.input, output)
    total = node.input[0]
    for name in node.input[1:-1]:
        total = draft.add("Add", [total, name])
    return draft.add("Add", [total, node.input[-1]], output)


def mean_as_adds(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto] | None:
    """Replace Mean(a, b) by Div(Add(a, b), 2)."""
    number = _number(node.input[0], scope)
    if number is None:
        return None
    draft = Draft(node, scope)
    if len(node.input) == 1:
        _add_up(draft, node, node.output[0])
    else:
        draft.add("Div", [_add_up(draft, node, ""), draft.constant(number(len(node.input)))], node.output[0])
    return draft.nodes


def _number(tensor: str, scope: Scope) -> Callable[[float], Array] | None:
    """Return a function that makes scalars of the tensor's element type; None where that is unknown."""
    element_type = scope.element_types.get(tensor)
    if element_type is None:
        return None
    return lambda value: np.asarray(value, numpy_type(element_type))


def dropout_as_identity(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto] | None:
    """Replace a Dropout that is not training, and whose mask is not read, by Identity."""
    is_trained = len(node.input) > 2 and bool(node.input[2])
    if is_trained or any(name in scope.read for name in node.output[1:]) or scope.opset < 7:
        return None
    draft = Draft(node, scope)
    draft.add("Identity", node.input[:1], node.output[0])
    return draft.nodes


def is_nan_as_equal(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto] | None:
    """Replace IsNaN(x) by Not(Equal(x, x))."""
    draft = Draft(node, scope)
    draft.add("Not", [draft.add("Equal", [node.input[0], node.input[0]])], node.output[0])
    return draft.nodes


def log_softmax_as_logarithm(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto] | None:
    """Replace LogSoftmax(x) by d - Log(ReduceSum(Exp(d))), d = x - ReduceMax(x), which does not underflow either."""
    if scope.opset < 13:
        return None
    axis = _attributes(node).get("axis", -1)
    draft = Draft(node, scope)
    axes = draft.constant(np.array([axis], np.int64))
    if scope.opset < 18:
        largest = draft.add("ReduceMax", node.input, axes=[axis], keepdims=1)
    else:
        largest = draft.add("ReduceMax", [node.input[0], axes], keepdims=1)
    below = draft.add("Sub", [node.input[0], largest])
    total = draft.add("ReduceSum", [draft.add("Exp", [below]), axes], keepdims=1)
    draft.add("Sub", [below, draft.add("Log", [total])], node.output[0])
    return draft.nodes


def sign_as_comparisons(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto] | None:
    """Replace Sign(x) by Cast(x > 0) - Cast(x < 0)."""
    number, element_type = _number(node.input[0], scope), scope.element_types.get(node.input[0])
    if number is None:
        return None
    draft = Draft(node, scope)
    zero = draft.constant(number(0))
    is_positive = draft.add("Cast", [draft.add("Greater", [node.input[0], zero])], to=element_type)
    is_negative = draft.add("Cast", [draft.add("Less", [node.input[0], zero])], to=element_type)
    draft.add("Sub", [is_positive, is_negative], node.output[0])
    return draft.nodes


def lrn_as_pool(node: onnx.NodeProto, scope: Scope) -> list[onnx.NodeProto] | None:
    """Replace LRN by x / (bias + alpha · mean over `size` channels of x²) ^ beta, with AveragePool for the mean.

    x is [N, C, H, W]; the pool sees [N, 1, C, H·W] and counts the padding, as LRN divides by `size` at the edges too.
    """
    shape, number = scope.shapes.get(node.input[0]), _number(node.input[0], scope)
    if shape is None or len(shape) != 4 or number is None or 0 in shape:
        return None
    given = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0, **_attributes(node)}
    window = int(str(given["size"]))
    before = (window - 1) // 2
    draft = Draft(node, scope)
    flat = draft.constant(np.array([shape[0], 1, shape[1], shape[2] * shape[3]], np.int64))
    squares = draft.add("Reshape", [draft.add("Mul", [node.input[0], node.input[0]]), flat])
    pads = [before, 0, window - 1 - before, 0]
    mean = draft.add("AveragePool", [squares], kernel_shape=[window, 1], pads=pads, count_include_pad=1)
    mean = draft.add("Reshape", [mean, draft.constant(np.array(shape, np.int64))])
    scaled = draft.add("Mul", [mean, draft.constant(number(float(str(given["alpha"]))))])
    raised = draft.add("Add", [scaled, draft.constant(number(float(str(given["bias"]))))])
    power = draft.add("Pow", [raised, draft.constant(number(float(str(given["beta"]))))])
    draft.add("Div", [node.input[0], power], node.output[0])
    return draft.nodes


def old_softmax_as_flat(node: onnx.NodeProto, scope: Scope, operator: str) -> list[onnx.NodeProto] | None:
    """Replace a Softmax of before operator set 13, which flattens its input at `axis`; newer ones work on one axis."""
    if scope.opset >= 13:
        return None
    axis = _attributes(node).get("axis", 1)
    shape = scope.shapes.get(node.input[0])
    if shape is not None and (axis in (-1, len(shape) - 1)):
        return None
    draft = Draft(node, scope)
    matrix = draft.add("Flatten", node.input, axis=axis)
    rows = draft.add(operator, [matrix], axis=1)
    draft.add("Reshape", [rows, draft.add("Shape", node.input)], node.output[0])
    return draft.nodes


RULES: Mapping[str, Rule] = {
    "Sum": sum_as_adds,
    "Mean": mean_as_adds,
    "Dropout": dropout_as_identity,
    "IsNaN": is_nan_as_equal,
    "LogSoftmax": log_softmax_as_logarithm,
    "Sign": sign_as_comparisons,
    "LRN": lrn_as_pool,
    "Softmax": partial(old_softmax_as_flat, operator="Softmax"),
}
