"""The inputs and outputs of a model: names, types and shapes, in ONNX Runtime's terms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from mosaic_onnx.core.graph.graphs import initializer_names

_NO_ARRAY = {TensorProto.UNDEFINED, TensorProto.STRING}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model; named as ONNX Runtime's ``NodeArg`` is.

    Attributes:
        name: its name.
        type: ``tensor(float)``, ``tensor(int64)``, ``seq(tensor(float))``, …
        shape: dimensions; None (or the dimension's name) where it is known only at run time; empty for a scalar.
    """

    name: str
    type: str
    shape: tuple[int | str | None, ...] = ()

    @property
    def dtype(self) -> np.dtype[np.generic] | None:
        """Return the dtype of host arrays for it; None for anything but tensors of numbers."""
        word = self.type.removeprefix("tensor(").removesuffix(")")
        number = TensorProto.DataType.Value(word.upper()) if word.isalnum() else TensorProto.UNDEFINED
        return None if number in _NO_ARRAY else np.dtype(helper.tensor_dtype_to_np_dtype(number))


def tensor_specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Return the specifications of a graph's inputs or outputs."""
    return tuple(TensorSpec(value.name, _type_word(value.type), _dims(value.type)) for value in values)


def given_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that a caller must give: those without an initialiser."""
    known = initializer_names(graph)
    return [value for value in graph.input if value.name not in known]


def _type_word(kind: onnx.TypeProto) -> str:
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        return f"tensor({_element_word(kind.tensor_type.elem_type)})"
    if which == "sequence_type":
        return f"seq({_type_word(kind.sequence_type.elem_type)})"
    if which == "optional_type":
        return f"optional({_type_word(kind.optional_type.elem_type)})"
    if which == "map_type":
        return f"map({_element_word(kind.map_type.key_type)},{_type_word(kind.map_type.value_type)})"
    return f"{which or 'unknown'}()"


def _element_word(number: int) -> str:
    return str(TensorProto.DataType.Name(number)).lower()


def _dims(kind: onnx.TypeProto) -> tuple[int | str | None, ...]:
    if kind.WhichOneof("value") != "tensor_type":
        return ()
    return tuple(_dim(dim) for dim in kind.tensor_type.shape.dim)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    return dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None)
