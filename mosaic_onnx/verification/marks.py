"""Tensors that need special comparison: after random operators, quantisation, bounded functions; found in one walk."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from mosaic_onnx.core.graph.graphs import call_key, every_node, function_key, is_constant, operator_name, reads, writes

RANDOM_OPERATORS = frozenset(
    {
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"),
        *("com.microsoft::Sampling", "com.microsoft::BiasDropout", "com.microsoft::BitmaskDropout"),
    }
)
_QUANTISING = frozenset(
    {
        *("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
        *("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention", "QGemm", "QOrderedMatMul"),
    }
)
_MOVING = frozenset(
    {
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather", "Split", "Pad"),
        *("Concat", "DepthToSpace", "SpaceToDepth", "Expand", "Tile", "Dropout", "Relu", "MaxPool", "Clip"),
    }
)
"""Operators whose output holds only values of the first input (or limits): the quantisation step stays the same."""
_BOUNDED = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "Tanh", "Erf"})
"""Functions between -1 and 1, which runtimes compute by way of numbers near 1: small values keep its rounding."""


@dataclass(frozen=True)
class Marks:
    """The tensors of a graph that need special comparison.

    Attributes:
        random: by tensor at or after a random operator, the operators.
        quantised: tensors at or after quantisation.
        steps: by tensor that holds quantised or dequantised values as they are, the largest step between two of them.
        bounded: tensors that hold values of functions between -1 and 1 as they are.
    """

    random: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    quantised: frozenset[str] = frozenset()
    steps: Mapping[str, float] = field(default_factory=dict)
    bounded: frozenset[str] = frozenset()


def find_marks(model: onnx.ModelProto) -> Marks:
    """Return the marks of a topologically sorted model."""
    values = _small_values(model.graph)
    functions = _function_marks(model)
    random: dict[str, tuple[str, ...]] = {}
    quantised: set[str] = set()
    steps: dict[str, float] = {}
    bounded: set[str] = set()
    for node in model.graph.node:
        sources = [name for name in reads(node)]
        operators = dict.fromkeys(operator for name in sources for operator in random.get(name, ()))
        operators |= dict.fromkeys(_random_within(node, values, functions))
        if operators:
            random.update((name, tuple(operators)) for name in writes(node))
        if any(name in quantised for name in sources) or _quantises_within(node, functions):
            quantised.update(writes(node))
        if (step := _step(node, values, steps)) is not None:
            steps.update((name, step) for name in writes(node))
        if _is_bounded(node, bounded):
            bounded.update(writes(node))
    return Marks(random, frozenset(quantised), steps, frozenset(bounded))


def _small_values(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    values = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if is_constant(node) and node.attribute and node.attribute[0].name == "value":
            values[node.output[0]] = node.attribute[0].t
    return values


def _function_marks(model: onnx.ModelProto) -> dict[tuple[str, str, str], onnx.FunctionProto]:
    return {function_key(function): function for function in model.functions}


def _all_nodes(
    node: onnx.NodeProto, functions: Mapping[tuple[str, str, str], onnx.FunctionProto], seen: set[tuple[str, str, str]]
) -> list[onnx.NodeProto]:
    """Return the node, those in its bodies, and those in the functions that they call."""
    found = []
    for each in every_node([node]):
        found.append(each)
        key = call_key(each)
        if key in functions and key not in seen:
            seen.add(key)
            for inner in functions[key].node:
                found += _all_nodes(inner, functions, seen)
    return found


def _random_within(
    node: onnx.NodeProto,
    values: Mapping[str, onnx.TensorProto],
    functions: Mapping[tuple[str, str, str], onnx.FunctionProto],
) -> list[str]:
    return [
        operator_name(each)
        for each in _all_nodes(node, functions, set())
        if operator_name(each) in RANDOM_OPERATORS or (each.op_type == "Dropout" and _is_training(each, values))
    ]


def _is_training(node: onnx.NodeProto, values: Mapping[str, onnx.TensorProto]) -> bool:
    """Return whether a Dropout is active: by its third input since opset 12 (unknown: yes), ``is_test`` before 7."""
    if len(node.input) > 2 and node.input[2]:
        known = values.get(node.input[2])
        return known is None or bool(numpy_helper.to_array(known))
    return any(attribute.name == "is_test" and attribute.i == 0 for attribute in node.attribute)


def _quantises_within(node: onnx.NodeProto, functions: Mapping[tuple[str, str, str], onnx.FunctionProto]) -> bool:
    return any(
        each.op_type in _QUANTISING or each.op_type.startswith("QLinear") for each in _all_nodes(node, functions, set())
    )


def _is_bounded(node: onnx.NodeProto, bounded: AbstractSet[str]) -> bool:
    if node.domain:
        return False
    values = node.input if node.op_type == "Concat" else node.input[:1]
    return node.op_type in _BOUNDED or (node.op_type in _MOVING and all(name in bounded for name in values))


def _step(node: onnx.NodeProto, values: Mapping[str, onnx.TensorProto], steps: Mapping[str, float]) -> float | None:
    if node.op_type == "DequantizeLinear" and len(node.input) > 1:
        scale = values.get(node.input[1])
        if scale is None or scale.data_location == onnx.TensorProto.EXTERNAL:
            return None
        return float(np.max(np.abs(numpy_helper.to_array(scale).astype(np.float64)), initial=0.0))
    if node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") or node.op_type.startswith("QLinear"):
        return 1.0
    if node.op_type in _MOVING and not node.domain:
        known = [steps[name] for name in node.input if name in steps]
        return max(known) if known and node.input[0] in steps else None
    return None
