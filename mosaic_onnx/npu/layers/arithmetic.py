"""Convolutions and matrix products of ONNX as loop nests."""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd, prod
from typing import Any

import onnx
from onnx import helper

from mosaic_onnx.npu.layers.nest import LoopNest, Refused

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Operator type → position of the weight."""
PRODUCTS = {"MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "Gemm": 1, "QGemm": 3}
ARITHMETIC = {*CONVOLUTIONS, *PRODUCTS, "ConvTranspose"}


def nest_of(node: onnx.NodeProto, key: str, shapes: Shapes) -> LoopNest | Refused:
    """Return the loop nest of a convolution or matrix product.

    Args:
        node: its operator is in ``ARITHMETIC``.
        key: what the layer is called.
        shapes: concrete shapes by value name.
    """
    weight_at = CONVOLUTIONS.get(node.op_type, PRODUCTS.get(node.op_type, 1))
    names = (node.input[0], node.input[weight_at], node.output[0])
    unknown = next((name for name in names if name not in shapes), None)
    if unknown is not None:
        return Refused(key, node.op_type, f"the shape of {unknown} is not known before the model runs")
    source, weight, made = (shapes[name] for name in names)
    if 0 in (*source, *weight, *made):
        return Refused(key, node.op_type, "it works on empty tensors")
    if node.op_type in PRODUCTS:
        return _product(node, key, source, weight, made)
    if not 3 <= len(source) <= 4:
        return Refused(key, node.op_type, f"a convolution over {len(source) - 2} axes; the array has rows and columns")
    if node.op_type == "ConvTranspose":
        return _transposed(node, key, source, weight)
    return _convolution(node, key, source, weight, made)


def _convolution(node: onnx.NodeProto, key: str, source: Shape, weight: Shape, made: Shape) -> LoopNest:
    groups = int(_attribute(node, "group", 1))
    is_depthwise = groups > 1 and weight[1] == 1 and weight[0] == groups
    (H, W), (R, S), (P, Q) = _two(source[2:]), _two(weight[2:]), _two(made[2:])
    stride, dilation = _two(_attribute(node, "strides", ())), _two(_attribute(node, "dilations", ()))
    padding = _leading_padding(node, source[2:], made[2:], weight[2:])
    return LoopNest(
        name=key,
        kind="depthwise" if is_depthwise else "conv",
        N=source[0],
        K=weight[0] if is_depthwise else weight[0] // groups,
        C=1 if is_depthwise else weight[1],
        P=P,
        Q=Q,
        R=R,
        S=S,
        H=H,
        W=W,
        stride=stride,
        dilation=dilation,
        padding=padding,
        repeats=1 if is_depthwise else groups,
        nodes=(key,),
    )


def _transposed(node: onnx.NodeProto, key: str, source: Shape, weight: Shape) -> LoopNest | Refused:
    """Return the sub-pixel form: stride² ordinary convolutions of stride 1, whose outputs interleave.

    The filter of each has ⌈R/stride⌉ × ⌈S/stride⌉ taps; where the stride does not divide the filter, some are zeros.
    """
    groups = int(_attribute(node, "group", 1))
    if any(step != 1 for step in _two(_attribute(node, "dilations", ()))):
        return Refused(key, node.op_type, "a transposed convolution with dilation has no sub-pixel form")
    (H, W), (R, S) = _two(source[2:]), _two(weight[2:])
    stride = _two(_attribute(node, "strides", ()))
    taps = -(-R // stride[0]), -(-S // stride[1])
    return LoopNest(
        name=key,
        kind="conv",
        N=source[0],
        K=weight[1] * stride[0] * stride[1],
        C=source[1] // groups,
        P=H,
        Q=W,
        R=taps[0],
        S=taps[1],
        H=H,
        W=W,
        padding=((taps[0] - 1) // 2, (taps[1] - 1) // 2),
        repeats=groups,
        nodes=(key,),
    )


def _product(node: onnx.NodeProto, key: str, left: Shape, right: Shape, made: Shape) -> LoopNest:
    """Return a matrix product as a nest: Q rows, C summed, K columns; batched where the right side has a batch."""
    if node.op_type in ("Gemm", "QGemm"):
        rows, inner = left[::-1] if _attribute(node, "transA", 0) else left
        columns = right[0] if _attribute(node, "transB", 0) else right[1]
        return LoopNest(key, "gemm", 1, columns, inner, 1, rows, 1, 1, 1, rows, nodes=(key,))
    inner = left[-1]
    columns = right[-1] if len(right) > 1 else 1
    every = prod(made) // columns if made else 1
    repeats = prod(right[:-2]) if len(right) > 2 else 1
    if repeats > 1:  # the right side changes with the batch: one product a matrix
        repeats = gcd(repeats, every)
    rows = every // repeats
    return LoopNest(key, "gemm", 1, columns, inner, 1, rows, 1, 1, 1, rows, repeats=repeats, nodes=(key,))


def _leading_padding(node: onnx.NodeProto, source: Shape, made: Shape, taps: Shape) -> tuple[int, int]:
    """Return the padding above and to the left; from the sizes where ``auto_pad`` asks for it."""
    auto = _attribute(node, "auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        strides = _attribute(node, "strides", (1,) * len(taps))
        totals = [max((m - 1) * s + t - e, 0) for m, s, t, e in zip(made, strides, taps, source, strict=True)]
        return _two([(total + (auto == b"SAME_LOWER")) // 2 for total in totals], 0)
    pads = _attribute(node, "pads", ())
    return _two(pads[: len(taps)], 0)


def _two(values: Any, default: int = 1) -> tuple[int, int]:
    """Return rows and columns; one axis alone is a row of columns."""
    found = [int(value) for value in values]
    if not found:
        return default, default
    return (default, found[0]) if len(found) == 1 else (found[0], found[1])


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)
