"""Element types: ONNX Runtime's names, ONNX's numbers, numpy's types, and their layout in buffers."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from mosaic_onnx.backends.base import Array

_RENAMED = {"float": "FLOAT", "double": "DOUBLE"}
_BITS: dict[int, int] = {
    **dict.fromkeys((TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1), 4),
    **dict.fromkeys((TensorProto.INT2, TensorProto.UINT2), 2),
}
"""Bits of an element, where several share a byte; the first one has the lowest bits."""
_NATIVE_KINDS = "biuf"


def element_type_of(type_text: str) -> int:
    """Return the ONNX element type of ``tensor(float)``; 0 for others than tensors (sequence, map, optional)."""
    if not type_text.startswith("tensor("):
        return TensorProto.UNDEFINED
    name = type_text.removeprefix("tensor(").removesuffix(")")
    return int(TensorProto.DataType.Value(_RENAMED.get(name, name.upper())))


def numpy_type(element_type: int) -> np.dtype[np.generic]:
    """Return the numpy (or ml_dtypes) type that holds one element in host arrays."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(element_type))


def is_native(element_type: int) -> bool:
    """Return whether ONNX Runtime converts tensors of this type to numpy arrays (it does not for ml_dtypes' types)."""
    if element_type == TensorProto.STRING:
        return True
    dtype = numpy_type(element_type)
    return dtype.kind in _NATIVE_KINDS and dtype.isbuiltin == 1


def lies_flat(element_type: int) -> bool:
    """Return whether host arrays of this type have the runtime's layout, so that they can be bound in place.

    Strings are objects, and types of 4 and 2 bits take a byte each in numpy but share bytes in the runtime.
    """
    return element_type not in (TensorProto.UNDEFINED, TensorProto.STRING) and element_type not in _BITS


def packed(array: Array, element_type: int) -> Array:
    """Return the bytes that the runtime expects for a host array."""
    if element_type not in _BITS:
        return np.ascontiguousarray(array)
    bits = _BITS[element_type]
    count = 8 // bits
    elements = np.ascontiguousarray(array).view(np.uint8).reshape(-1) & np.uint8((1 << bits) - 1)
    padded = np.pad(elements, (0, -elements.size % count)).reshape(-1, count)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    joined: Array = np.bitwise_or.reduce(padded << shifts, axis=1)
    return joined


def unpacked(data: bytes, element_type: int, shape: tuple[int, ...]) -> Array:
    """Return a host array from the runtime's bytes; the inverse of ``packed``."""
    dtype = numpy_type(element_type)
    if element_type not in _BITS:
        return np.frombuffer(data, dtype).reshape(shape).copy()
    bits = _BITS[element_type]
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    elements = (np.frombuffer(data, np.uint8)[:, None] >> shifts) & np.uint8((1 << bits) - 1)
    return elements.reshape(-1)[: int(np.prod(shape))].view(dtype).reshape(shape).copy()
