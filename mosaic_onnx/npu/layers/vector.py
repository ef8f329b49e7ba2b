"""Operators of the vector unit, those that cost nothing, and those that only move data."""

from __future__ import annotations

from math import prod
from typing import Any

import onnx
from onnx import helper

from mosaic_onnx.npu.layers.arithmetic import Shapes
from mosaic_onnx.npu.layers.nest import Refused, VectorWork

FREE = {
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout", "Constant", "Cast"),
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
}
"""No work of their own: views, and conversions done on the way in or out of the buffer."""
ACTIVATIONS = {
    "Relu": 1,
    "Clip": 2,
    "LeakyRelu": 2,
    "PRelu": 2,
    "HardSigmoid": 3,
    "HardSwish": 4,
    "Sigmoid": 4,
    "Tanh": 4,
    "Elu": 4,
    "Selu": 4,
    "Softplus": 4,
    "Erf": 6,
    "Gelu": 8,
    "QLinearSigmoid": 1,
    "QLinearLeakyRelu": 1,
}
"""Operations an element; transcendental functions as piecewise polynomials."""
ELEMENTWISE = {
    **ACTIVATIONS,
    **dict.fromkeys(("Add", "Sub", "Mul", "Min", "Max", "Neg", "Abs", "Sum", "QLinearAdd", "QLinearMul"), 1),
    **dict.fromkeys(("Floor", "Ceil", "Round", "Sign", "Equal", "Greater", "Less", "Where", "Not", "And", "Or"), 1),
    **dict.fromkeys(("Div", "Sqrt", "Reciprocal", "Exp", "Log", "Pow", "Mod"), 4),
    "BatchNormalization": 2,
}
NORMALISATIONS = {
    "Softmax": 7,
    "LogSoftmax": 8,
    "LayerNormalization": 7,
    "RMSNormalization": 5,
    "InstanceNormalization": 6,
    "GroupNormalization": 7,
    "LpNormalization": 4,
    "LRN": 10,
    "MeanVarianceNormalization": 6,
}
REDUCTIONS = {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare"}
POOLING = {"MaxPool", "AveragePool", "LpPool", "QLinearAveragePool"}
WHOLE_POOLING = {"GlobalAveragePool", "GlobalMaxPool", "QLinearGlobalAveragePool"}
MOVEMENT = {
    *("Transpose", "Concat", "Split", "Slice", "Gather", "Pad", "Resize", "Upsample", "Expand", "Tile"),
    *("DepthToSpace", "SpaceToDepth", "QLinearConcat"),
}
"""The DMA's: elements are moved, nothing is computed."""
VECTOR = {*ELEMENTWISE, *NORMALISATIONS, *REDUCTIONS, *POOLING, *WHOLE_POOLING, *MOVEMENT}


def vector_work(node: onnx.NodeProto, key: str, shapes: Shapes) -> VectorWork | Refused:
    """Return the vector unit's work for a node whose operator is in ``VECTOR``.

    Args:
        node: the node.
        key: what the layer is called.
        shapes: concrete shapes by value name.
    """
    made = next(name for name in node.output if name)
    unknown = next((name for name in (node.input[0], made) if name and name not in shapes), None)
    if unknown is not None:
        return Refused(key, node.op_type, f"the shape of {unknown} is not known before the model runs")
    outputs = sum(prod(shapes[name]) for name in node.output if name in shapes)
    source = prod(shapes[node.input[0]]) if node.input[0] else 0
    inputs = sum(prod(shapes[name]) for name in node.input if name in shapes)
    if node.op_type in MOVEMENT:
        moved = outputs if node.op_type in ("Slice", "Gather") else min(inputs, outputs)
        return VectorWork(key, node.op_type, 0, moved, outputs, (key,))
    if node.op_type in POOLING:
        window = _attribute(node, "kernel_shape", (1, 1))
        return VectorWork(key, node.op_type, outputs * prod(window), source, outputs, (key,))
    if node.op_type in WHOLE_POOLING or node.op_type in REDUCTIONS:
        return VectorWork(key, node.op_type, source, source, outputs, (key,))
    each = ELEMENTWISE.get(node.op_type) or NORMALISATIONS[node.op_type]
    return VectorWork(key, node.op_type, each * outputs, inputs, outputs, (key,))


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)
