"""What OpenVINO is known not to take, or to get wrong: claims without compiling, each with its reason."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from mosaic_onnx.backends.ort_types import numpy_type

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
_OPERATORS: dict[str, str] = {}
_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft", "org.openvinotoolkit"})


def unsupported_operator(node: onnx.NodeProto) -> str | None:
    """Why OpenVINO cannot take the node; None where it may."""
    if node.domain not in _DOMAINS:
        return f"OpenVINO has no operators of domain {node.domain!r}"
    return _OPERATORS.get(node.op_type)


def unsupported_type(value: onnx.TypeProto) -> str | None:
    """Why a tensor of this type cannot enter OpenVINO; None where it can."""
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
