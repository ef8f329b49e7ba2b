"""A node where it stands in its graph: what a rule may ask about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from mosaic_onnx.loading.ranges.known_values import KnownValues
from mosaic_onnx.loading.ranges.value_range import Range, up_to

Asked = list[tuple[str, Range]]
"""Pairs of a tensor's name and the range that is asked of it."""
INTEGERS = frozenset(
    {
        TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
        TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
    }
)  # fmt: skip
SMALL_SIZE = 8
"""Largest size that an input may give to a tensor made from it (a repeat, a length, a trip count)."""


@dataclass(frozen=True)
class Site:
    """A node where it stands.

    Attributes:
        node: the node.
        wanted: what is asked so far of each tensor by its later readers.
        shapes: concrete shapes by name.
        types: element types by name.
        known: values fixed before the model runs.
        opset: version of the default domain.
    """

    node: onnx.NodeProto
    wanted: Mapping[str, Range]
    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, int]
    known: KnownValues
    opset: int

    def input(self, index: int) -> str:
        """Name of an input; empty where it is left out."""
        return self.node.input[index] if index < len(self.node.input) else ""

    def output_range(self, index: int = 0) -> Range | None:
        """What is asked of an output."""
        return self.wanted.get(self.node.output[index]) if index < len(self.node.output) else None

    def shape(self, index: int) -> tuple[int, ...] | None:
        """Shape of an input; None where it is not known in full."""
        return self.shapes.get(self.input(index))

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return next((int(each.i) for each in self.node.attribute if each.name == name), default)

    def dim(self, index: int, axis: int) -> int | None:
        """One dimension of an input."""
        shape = self.shape(index)
        return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None

    def ends(self, index: int) -> tuple[float, float] | None:
        """Smallest and largest element of an input that is known."""
        value = self.known.get(self.input(index)) if self.input(index) else None
        if value is None or not value.size or value.dtype.kind not in "iufb":
            return None
        return float(np.min(value)), float(np.max(value))

    def is_integer(self, index: int) -> bool:
        """Whether an input holds integers."""
        return self.types.get(self.input(index), 0) in INTEGERS


Rule = Callable[[Site], Asked]


def careful(site: Site) -> Asked:
    """For an operator without a rule: 0 and 1 are safe where it is not of the standard or its output is an index."""
    foreign = site.node.domain not in ("", "ai.onnx")
    limited = any(
        site.wanted[name].is_limited and not site.wanted[name].domain
        for name in site.node.output
        if name in site.wanted
    )
    if not (foreign or limited):
        return []
    return [(name, up_to(1)) for index, name in enumerate(site.node.input) if site.is_integer(index)]
