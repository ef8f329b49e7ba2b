"""Values that are known before a graph runs: initialisers, constants, and small integers computed from shapes.

Each is computed when it is asked for and kept: a graph of thousands of nodes costs only what is used.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Values = NDArray[np.generic]
MAX_ELEMENT_COUNT = 1024
"""Larger tensors are data, not sizes or offsets."""
_FOLDED = frozenset(
    (
        *(
            "Shape",
            "Size",
            "Gather",
            "Slice",
            "Concat",
            "Unsqueeze",
            "Squeeze",
            "Cast",
            "Identity",
            "Reshape",
            "Flatten",
        ),
        *("Add", "Sub", "Mul", "Div", "Mod", "Neg", "Min", "Max", "Floor", "Ceil", "Sqrt", "Where", "Equal", "Expand"),
        *("Range", "ConstantOfShape", "ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin", "Transpose"),
    )
)
"""Operators that compute sizes and offsets from sizes and offsets."""


class KnownValues:
    """The values of a graph that are known before it runs, computed on demand.

    Args:
        graph: the graph; its own scope only.
        shapes: concrete shapes by tensor name; a name that is absent has an unknown shape.
        outer: values of the enclosing scope, for a subgraph.
        opset: version of the default domain.
    """

    def __init__(
        self,
        graph: onnx.GraphProto,
        shapes: Mapping[str, tuple[int, ...]],
        opset: int,
        outer: KnownValues | None = None,
    ) -> None:
        self._shapes, self._opset, self._outer = shapes, opset, outer
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output if name}
        self._found: dict[str, Values | None] = {}

    def get(self, name: str) -> Values | None:
        """Return the tensor's value; None where it is large or known only at run time."""
        if name not in self._found:
            self._found[name] = None  # a value on a cycle is unknown
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> Values | None:
        if name in self._initializers:
            return _small(self._initializers[name])
        node = self._makers.get(name)
        if node is None:
            return self._outer.get(name) if self._outer is not None else None
        if node.op_type == "Constant":
            return _constant(node)
        if node.domain not in ("", "ai.onnx") or node.op_type not in _FOLDED:
            return None
        return self._folded(node, name)

    def _folded(self, node: onnx.NodeProto, name: str) -> Values | None:
        if node.op_type in ("Shape", "Size"):
            shape = self._shapes.get(node.input[0])
            if shape is None:
                return None
            feeds: dict[str, Values] = {node.input[0]: np.broadcast_to(np.zeros((), np.float32), shape)}
        else:
            values = [(each, self.get(each)) for each in node.input if each]
            if any(value is None for _, value in values):
                return None
            feeds = {each: value for each, value in values if value is not None}
        return _evaluated(node, feeds, name, self._opset)


def _small(tensor: onnx.TensorProto) -> Values | None:
    """Return an initialiser's value; None where it is large or lies in another file."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or int(np.prod(tensor.dims)) > MAX_ELEMENT_COUNT:
        return None
    return numpy_helper.to_array(tensor)


def _constant(node: onnx.NodeProto) -> Values | None:
    attribute = node.attribute[0] if node.attribute else None
    if attribute is None:
        return None
    if attribute.name == "value":
        return _small(attribute.t)
    if attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
        return np.asarray(onnx.helper.get_attribute_value(attribute))
    return None


def _evaluated(node: onnx.NodeProto, feeds: Mapping[str, Values], output: str, opset: int) -> Values | None:
    from onnx.reference import ReferenceEvaluator

    if node.op_type == "ConstantOfShape" and np.prod(feeds[node.input[0]].astype(np.int64)) > MAX_ELEMENT_COUNT:
        return None
    try:
        results: list[Values] = list(ReferenceEvaluator(node, opsets={"": opset}).run(None, dict(feeds)))  # type: ignore[arg-type]
        value = np.asarray(results[list(node.output).index(output)])
    except Exception:  # the evaluator may raise anything on an ill-formed node; the value is then unknown
        return None
    return value if value.size <= MAX_ELEMENT_COUNT else None
