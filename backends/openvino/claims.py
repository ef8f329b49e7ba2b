"""Nodes that OpenVINO refuses or computes wrong, as ONNX's operator tests and 130 models showed.

All were seen on OpenVINO 2026.4's CPU plugin; each refusal names the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx
from onnx import TensorProto, helper

from mosaic_onnx.backends.integers import with_bodies
from mosaic_onnx.backends.onnxruntime.types import numpy_type
from mosaic_onnx.core.graph.graphs import subgraphs

_TYPES = frozenset(
    {
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.DOUBLE,
        TensorProto.BOOL,
        TensorProto.INT8,
        TensorProto.INT16,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.UINT8,
        TensorProto.UINT16,
        TensorProto.UINT32,
        TensorProto.UINT64,
    }
)
_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
_RESIZE_WORDS: Mapping[str, object] = {
    "antialias": 0,
    "exclude_outside": 0,
    "keep_aspect_ratio_policy": b"stretch",
}
_WRONG_OUTPUTS: Mapping[tuple[str, str], slice] = {
    ("", "Attention"): slice(3, 4),
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): slice(1, 3),
}
"""Outputs that differ: the product of queries and keys; mean and inverse deviation."""

MOST_NESTED_IFS = 14
"""Measured: 14 compile in half a second, 17 in 3 s, each further one takes twice as long (20: 24 s, several times)."""


def unsupported_node(node: onnx.NodeProto) -> str | None:
    """Return why OpenVINO cannot run the node, its bodies included; None where it may."""
    for each in with_bodies([node]):
        if each.domain not in _DOMAINS:
            return f"OpenVINO has no operators of domain {each.domain!r} ({each.op_type})"
        refuse = _REFUSALS.get(each.op_type)
        reason = refuse(each) if refuse else None
        if reason is not None:
            return f"{each.op_type}: {reason}"
    return None


def unsupported_slice(graph: onnx.GraphProto) -> str | None:
    """Return why OpenVINO cannot run the slice, beyond its single nodes; None where it may."""
    nodes = list(with_bodies(graph.node))
    weights = {tensor.name: tensor for tensor in graph.initializer}
    fixed = set(weights) | {name for node in nodes if node.op_type == "Constant" for name in node.output}
    read = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    makers = {name: node for node in nodes for name in node.output if name}
    for node in nodes:
        reason = unsupported_node(node) or _unsupported_here(node, weights, fixed, read) or _wrong_pool(node, makers)
        if reason is not None:
            return f"node {node.name or node.output[0]!r}: {reason}"
    return None


def _unsupported_here(
    node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto], fixed: set[str], read: set[str]
) -> str | None:
    suspects = node.output[_WRONG_OUTPUTS.get((node.domain, node.op_type), slice(0, 0))]
    wrong = [name for name in suspects if name and name in read]  # an empty name is an omitted output
    if wrong:
        return f"{node.op_type}: OpenVINO gets {wrong[0]!r} wrong"
    if node.op_type == "Tile" and node.input[1] not in fixed:
        return "Tile: OpenVINO computes some repeats wrong that are known only at run time"
    if node.op_type == "QLinearConv":
        scale = weights.get(node.input[4])
        if scale is None or any(extent > 1 for extent in scale.dims):
            return "QLinearConv: OpenVINO applies the scales of output channels to input channels"
    return None


def _wrong_pool(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> str | None:
    """Return whether an average includes padding of dequantised values, which OpenVINO computes wrong."""
    if node.op_type != "AveragePool" or not _counts_padding(node, makers.get(node.input[0])):
        return None
    waiting, seen = [node], {node.output[0]}
    while waiting:
        for name in waiting.pop().input:
            maker = makers.get(name)
            if maker is None or name in seen:
                continue
            if maker.op_type == "DequantizeLinear" or maker.op_type.startswith("QLinear"):
                return "AveragePool: OpenVINO shifts padding by the zero point of the values that it dequantises before"
            seen.update(maker.output)
            waiting.append(maker)
    return None


def _counts_padding(node: onnx.NodeProto, before: onnx.NodeProto | None) -> bool:
    """Return whether zeros of padding are part of an AveragePool's means."""
    if before is not None and before.op_type == "Pad":
        return True
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    is_padded = any(given.get("pads", ())) or given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    return bool(given.get("count_include_pad")) and is_padded


def slice_bounds(graph: onnx.GraphProto) -> set[str]:
    """Return the tensors that are only bounds of Slice, for which 32 bits suffice."""
    bounds: set[str] = set()
    others = {value.name for value in graph.output}
    for node in with_bodies(graph.node):
        is_slice = node.op_type == "Slice"
        bounds.update(node.input[1:3] if is_slice else ())
        others.update([node.input[0], *node.input[3:]] if is_slice else node.input)
    return bounds - others


def unsupported_type(value: onnx.TypeProto) -> str | None:
    """Return why a tensor of this type cannot enter OpenVINO; None where it can."""
    if not value.HasField("tensor_type"):
        return f"OpenVINO takes tensors only, not a {value.WhichOneof('value') or 'value of unknown type'}"
    element_type = value.tensor_type.elem_type
    if element_type == TensorProto.UNDEFINED:
        return "its type is unknown"
    if element_type in _TYPES:
        return None
    if element_type == TensorProto.STRING:
        return "OpenVINO's CPU plugin computes no strings"
    return f"OpenVINO's CPU plugin computes no {numpy_type(element_type)}"


def _top_k(node: onnx.NodeProto) -> str | None:
    """Return why OpenVINO computes a TopK wrong: in ONNX the lower index of equal values comes first."""
    return "OpenVINO orders equal values otherwise than ONNX says"


def _resize(node: onnx.NodeProto) -> str | None:
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.name in _RESIZE_WORDS and value != _RESIZE_WORDS[attribute.name]:
            return f"OpenVINO's result differs where {attribute.name} is given"
    return None


def _lstm(node: onnx.NodeProto) -> str | None:
    return "OpenVINO leaves peepholes out" if len(node.input) > 7 and node.input[7] else None


def _nested_ifs(node: onnx.NodeProto) -> str | None:
    """Return how deep Ifs lie within each other, where that is too deep to compile."""
    depth, level = 0, [node]
    while level and depth <= MOST_NESTED_IFS:
        depth += 1
        level = [each for outer in level for graph in subgraphs(outer) for each in graph.node if each.op_type == "If"]
    if depth <= MOST_NESTED_IFS:
        return None
    return f"more than {MOST_NESTED_IFS} lie within each other, and each doubles the time that OpenVINO compiles"


_REFUSALS: Mapping[str, Callable[[onnx.NodeProto], str | None]] = {
    "If": _nested_ifs,
    "TopK": _top_k,
    "Resize": _resize,
    "LSTM": _lstm,
}
