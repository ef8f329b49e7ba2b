"""Checks of a slice that OpenVINO has read: deviations from ONNX's definitions, found before it runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import onnx

from mosaic_onnx.backends.onnxruntime.types import numpy_type
from mosaic_onnx.backends.openvino.claims import unsupported_type
from mosaic_onnx.backends.openvino.runner import Port
from mosaic_onnx.core.errors import BackendError

_ARITHMETIC = frozenset(
    {"Add", "Subtract", "Multiply", "Power", "Negative", "Abs", "ReduceSum", "ReduceProd", "CumSum"}
)
_BITWISE = frozenset({"BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitwiseLeftShift", "BitwiseRightShift"})
_SATURATING = frozenset({"i8", "u8", "i16", "u16"})
_NARROWED = frozenset({"u32", "u64"})


def wrong_arithmetic(graph: Any) -> str | None:
    """Return why the slice's integers would be wrong; None where they would not.

    The CPU plugin saturates 8- and 16-bit sums and products where ONNX wraps them, and computes unsigned 32- and
    64-bit ones in 32 signed bits. Signed 64-bit ones are truncated too, but those are mostly shapes and indices; their
    inputs are checked at run time.
    """
    for operation in _operations(graph):
        kind = operation.get_type_name()
        if kind == "Convert" and operation.get_input_element_type(0).get_type_name() == "u64":
            return f"OpenVINO reads u64 as 32 signed bits (Convert at {operation.get_friendly_name()!r})"
        if kind not in _ARITHMETIC and kind not in _BITWISE:
            continue
        made = operation.get_output_element_type(0).get_type_name()
        if made in _NARROWED:
            return f"OpenVINO computes {made} in 32 signed bits ({kind} at {operation.get_friendly_name()!r})"
        if made in _SATURATING and kind in _ARITHMETIC:
            return f"OpenVINO saturates {made} where ONNX wraps it ({kind} at {operation.get_friendly_name()!r})"
    return None


def _operations(graph: Any) -> Iterator[Any]:
    """Yield all operations, those in the bodies of If and loops included."""
    for operation in graph.get_ops():
        yield operation
        if operation.get_type_name() == "If":
            bodies = [operation.get_function(index) for index in (0, 1)]
        elif operation.get_type_name() in ("Loop", "TensorIterator"):
            bodies = [operation.get_function()]
        else:
            bodies = []
        for body in bodies:
            yield from _operations(body)


def input_ports(
    graph: Any, inputs: Sequence[onnx.ValueInfoProto], bounds: Collection[str], label: str
) -> tuple[Port, ...]:
    """Return the slice's inputs in OpenVINO's model; a dropped input has index None.

    Args:
        graph: the ``ov.Model``.
        inputs: the slice's inputs.
        bounds: those that are only bounds of Slice.
        label: the slice's name in messages.

    Raises:
        BackendError: OpenVINO does not support a type.
    """
    position = {name: index for index, port in enumerate(graph.inputs) for name in port.get_names()}
    return tuple(
        replace(_input_port(value, position.get(value.name), label), is_bound=value.name in bounds) for value in inputs
    )


def _input_port(value: onnx.ValueInfoProto, index: int | None, label: str) -> Port:
    tensor = value.type.tensor_type
    reason = unsupported_type(value.type)
    if reason is not None:
        raise BackendError(f"{label}: input {value.name!r}: {reason}")
    dims: tuple[int | None, ...] | None = None
    if tensor.HasField("shape"):
        dims = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    if index is None and (dims is None or 0 not in dims):
        raise BackendError(f"{label}: OpenVINO leaves input {value.name!r} out of its computation")
    return Port(value.name, index, numpy_type(tensor.elem_type), dims)


def output_ports(graph: Any, outputs: Sequence[onnx.ValueInfoProto], label: str) -> tuple[Port, ...]:
    """Return the slice's outputs in OpenVINO's model.

    Raises:
        BackendError: type or shape are not those that the slice declares.
    """
    if len(graph.outputs) != len(outputs):
        raise BackendError(f"{label}: OpenVINO makes {len(graph.outputs)} outputs of the slice's {len(outputs)}")
    return tuple(
        _output_port(output, index, value, label)
        for index, (output, value) in enumerate(zip(graph.outputs, outputs, strict=True))
    )


def _output_port(output: Any, index: int, value: onnx.ValueInfoProto, label: str) -> Port:
    shape = output.get_partial_shape()
    dims = None if shape.rank.is_dynamic else tuple(None if dim.is_dynamic else dim.get_length() for dim in shape)
    is_bf16 = output.element_type.get_type_name() == "bf16"
    dtype = numpy_type(onnx.TensorProto.BFLOAT16) if is_bf16 else output.element_type.to_dtype()
    port = Port(value.name, index, dtype, dims)
    declared = value.type.tensor_type
    if declared.elem_type and numpy_type(declared.elem_type) != dtype:
        raise BackendError(f"{label}: OpenVINO makes {value.name!r} a {dtype}, not a {numpy_type(declared.elem_type)}")
    if declared.HasField("shape") and dims is not None:
        wanted = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in declared.shape.dim)
        if not _agree(dims, wanted):
            raise BackendError(f"{label}: OpenVINO makes {value.name!r} of shape {list(dims)}, not {list(wanted)}")
    return port


def _agree(made: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(made) == len(wanted) and all(
        None in (one, other) or one == other for one, other in zip(made, wanted, strict=True)
    )
