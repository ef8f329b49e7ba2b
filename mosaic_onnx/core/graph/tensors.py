"""Sizes of tensors, and where the bytes of a model's weights lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx

_T = onnx.TensorProto
_BITS: dict[int, int] = {
    **dict.fromkeys((_T.UINT2, _T.INT2), 2),
    **dict.fromkeys((_T.UINT4, _T.INT4, _T.FLOAT4E2M1), 4),
    **dict.fromkeys((_T.UINT8, _T.INT8, _T.BOOL, _T.FLOAT8E4M3FN, _T.FLOAT8E4M3FNUZ, _T.FLOAT8E5M2), 8),
    **dict.fromkeys((_T.FLOAT8E5M2FNUZ, _T.FLOAT8E8M0), 8),
    **dict.fromkeys((_T.UINT16, _T.INT16, _T.FLOAT16, _T.BFLOAT16), 16),
    **dict.fromkeys((_T.UINT32, _T.INT32, _T.FLOAT), 32),
    **dict.fromkeys((_T.UINT64, _T.INT64, _T.DOUBLE, _T.COMPLEX64), 64),
    _T.COMPLEX128: 128,
}
# FLOAT6E2M3 and FLOAT6E3M2 by number: older onnx packages do not name them.
_BITS.update({27: 6, 28: 6})


def element_bits(element_type: int) -> int:
    """Return the bits of one element as stored; 0 for strings and unknown types."""
    return _BITS.get(element_type, 0)


def is_known_type(element_type: int) -> bool:
    """Return whether the number names a type of tensor elements."""
    return element_type in _BITS or element_type == _T.STRING


def tensor_bytes(element_type: int, shape: tuple[int, ...] | list[int]) -> int:
    """Return the bytes of a dense tensor, rounded up to whole bytes; 0 for strings and unknown types."""
    return -(-math.prod(shape) * element_bits(element_type) // 8)


@dataclass(frozen=True)
class ExternalData:
    """The place of a tensor's bytes; ``location`` is relative to the model's folder, with ``/``."""

    location: str
    offset: int
    length: int


def external_entry(tensor: onnx.TensorProto) -> ExternalData:
    """Return the external-data entry of a checked tensor."""
    words = {entry.key: entry.value for entry in tensor.external_data}
    length = words.get("length", "")
    size = int(length) if length else tensor_bytes(tensor.data_type, tuple(tensor.dims))
    return ExternalData(words["location"], int(words.get("offset") or 0), size)


def is_external(tensor: onnx.TensorProto) -> bool:
    """Return whether the tensor's bytes lie in another file."""
    return tensor.data_location == _T.EXTERNAL


def external_bytes(model: onnx.ModelProto) -> int:
    """Return the bytes of the main graph's weights that lie outside the model."""
    weights = (tensor for tensor in model.graph.initializer if is_external(tensor))
    return sum(tensor_bytes(tensor.data_type, list(tensor.dims)) for tensor in weights)


def weight_bytes(graph: onnx.GraphProto) -> int:
    """Return the bytes of the graph's weights, wherever they lie."""
    return sum(tensor_bytes(tensor.data_type, list(tensor.dims)) for tensor in graph.initializer)
