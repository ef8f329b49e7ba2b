"""A node with its context in the graph, as rules query it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from mosaic_onnx.loading.ranges.known_values import KnownValues
from mosaic_onnx.loading.ranges.value_range import Range, up_to

Asked = list[tuple[str, Range]]
"""Pairs of a tensor's name and the range demanded of it."""
INTEGERS = frozenset(
    {
        TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
        TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
    }
)  # fmt: skip
SMALL_SIZE = 8
"""Largest size that an input's value may give to a tensor (a repeat, a length, a trip count)."""


@dataclass(frozen=True)
class NodeContext:
    """A node with its context.

    Attributes:
        node: the node.
        wanted: range demanded of each tensor by its readers so far.
        shapes: concrete shapes by name.
        types: element types by name.
        known: values that are known before the model runs.
        opset: version of the default domain.
    """

    node: onnx.NodeProto
    wanted: Mapping[str, Range]
    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, int]
    known: KnownValues
    opset: int

    def input(self, index: int) -> str:
        """Return the name of an input; empty where it is omitted."""
        return self.node.input[index] if index < len(self.node.input) else ""

    def output_range(self, index: int = 0) -> Range | None:
        """Return the range demanded of an output."""
        return self.wanted.get(self.node.output[index]) if index < len(self.node.output) else None

    def shape(self, index: int) -> tuple[int, ...] | None:
        """Return the shape of an input; None where it is not fully known."""
        return self.shapes.get(self.input(index))

    def integer(self, name: str, default: int) -> int:
        """Return an integer attribute."""
        return next((int(each.i) for each in self.node.attribute if each.name == name), default)

    def dim(self, index: int, axis: int) -> int | None:
        """Return one dimension of an input."""
        shape = self.shape(index)
        return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None

    def ends(self, index: int) -> tuple[float, float] | None:
        """Return the smallest and largest element of a known input."""
        value = self.known.get(self.input(index)) if self.input(index) else None
        if value is None or not value.size or value.dtype.kind not in "iufb":
            return None
        return float(np.min(value)), float(np.max(value))

    def is_integer(self, index: int) -> bool:
        """Return whether an input holds integers."""
        return self.types.get(self.input(index), 0) in INTEGERS


Rule = Callable[[NodeContext], Asked]


def careful(context: NodeContext) -> Asked:
    """Return ranges for an operator without a rule: 0 to 1 if it is not standard or its output is an index."""
    foreign = context.node.domain not in ("", "ai.onnx")
    limited = any(
        context.wanted[name].is_limited and not context.wanted[name].domain
        for name in context.node.output
        if name in context.wanted
    )
    if not (foreign or limited):
        return []
    return [(name, up_to(1)) for index, name in enumerate(context.node.input) if context.is_integer(index)]
