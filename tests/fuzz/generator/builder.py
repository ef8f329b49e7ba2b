"""A graph that grows node by node: the values that can be read, with their types and concrete shapes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)
"""Half precision is left out: ONNX Runtime computes it in single precision and drops casts, not everywhere the same."""
INTEGERS = (TensorProto.INT64, TensorProto.INT32)
NUMBERS = (*FLOATS, *INTEGERS)
MOST_ELEMENTS = 4096
"""Of one tensor."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: its name, ONNX element type and shape."""

    name: str
    element: int
    shape: tuple[int, ...]

    @property
    def element_count(self) -> int:
        return math.prod(self.shape)

    def info(self) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(self.name, self.element, self.shape)


@dataclass
class Builder:
    """A graph, or a body within one.

    Attributes:
        draw: decides everything.
        values: what a new node may read, the outer graph's values included.
        nodes: of this graph, in topological order.
        weights: initialisers; None in a body, which holds its constants as nodes.
        depth: how many bodies lie around this one.
        functions: model-local functions, shared by all bodies.
        read: names that some node reads.
    """

    draw: random.Random
    values: list[Value] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[TensorProto] | None = field(default_factory=list)
    depth: int = 0
    functions: list[onnx.FunctionProto] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    numbers: Any = field(default_factory=count)

    def body(self) -> Builder:
        """Start a body that sees this graph's values."""
        return Builder(self.draw, list(self.values), [], None, self.depth + 1, self.functions, self.read, self.numbers)

    def name(self) -> str:
        """Return a new name, now and then one with the signs that exporters use."""
        return f"{self.draw.choice(['v', 'v', 'v', 'block/op', 'a.b:', 'onnx::V_'])}{next(self.numbers)}"

    def pick(
        self,
        elements: Sequence[int] = FLOATS,
        rank: range = range(8),
        where: Callable[[Value], bool] | None = None,
    ) -> Value | None:
        """Return a value of one of the element types and ranks; recent ones are likelier. None if there is none."""
        fit = [each for each in self.values if each.element in elements and len(each.shape) in rank]
        fit = [each for each in fit if where is None or where(each)]
        if not fit:
            return None
        return fit[-1 - min(int(self.draw.expovariate(0.5)), len(fit) - 1)]

    def add(
        self,
        operator: str,
        inputs: Sequence[Value | None],
        element: int,
        shape: Sequence[int],
        domain: str = "",
        **attributes: Any,
    ) -> Value:
        """Add a node of one output; the output can be read from now on."""
        return self.add_many(operator, inputs, [(element, tuple(shape))], domain, **attributes)[0]

    def add_many(
        self,
        operator: str,
        inputs: Sequence[Value | None],
        outputs: Sequence[tuple[int, tuple[int, ...]]],
        domain: str = "",
        **attributes: Any,
    ) -> list[Value]:
        """Add a node of several outputs."""
        made = [Value(self.name(), element, shape) for element, shape in outputs]
        names = [each.name if each is not None else "" for each in inputs]
        label = f"{operator}_{next(self.numbers)}" if self.draw.random() < 0.7 else ""
        node = helper.make_node(operator, names, [each.name for each in made], label, domain=domain, **attributes)
        self.nodes.append(node)
        self.read |= set(names)
        self.values += made
        return made

    def constant(self, array: np.ndarray) -> Value:
        """Add a constant: a weight of the graph, or a node where this is a body; random nodes do not read it."""
        name = self.name()
        tensor = numpy_helper.from_array(array, name)
        if self.weights is None:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.weights.append(tensor)
        return Value(name, tensor.data_type, array.shape)

    def integers(self, numbers: Sequence[int] | int) -> Value:
        """Add a constant of 64-bit integers."""
        return self.constant(np.array(numbers, dtype=np.int64))

    def weight(self, element: int, shape: Sequence[int]) -> Value:
        """Add a constant of small random numbers; never zero, so that it may divide."""
        dtype = helper.tensor_dtype_to_np_dtype(element)
        numbers = np.random.default_rng(self.draw.getrandbits(32))
        if np.dtype(dtype).kind in "iu":
            return self.constant(numbers.integers(1, 4, tuple(shape)).astype(dtype))
        return self.constant((numbers.uniform(0.25, 1.0, tuple(shape)) * numbers.choice([-1, 1])).astype(dtype))

    def fit(self, value: Value, element: int, shape: tuple[int, ...]) -> Value:
        """Make a tensor of a given type and shape out of any value."""
        if value.element != element:
            value = self.add("Cast", [value], element, value.shape, to=element)
        if value.shape == shape:
            return value
        if value.shape:
            value = self.add("ReduceMax", [value], element, (), keepdims=0)
        return self.add("Expand", [value, self.integers(shape)], element, shape)
