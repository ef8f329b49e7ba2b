"""Slices as an NPU of lower precision computes them: every stored tensor is rounded where the NPU would store it.

Whole numbers: real ``QuantizeLinear`` and ``DequantizeLinear`` pairs around values and weights, scales for values from
the ranges that a sample had, for weights from the weights (one scale an output channel). Sums stay exact, as they do in
an array with 32-bit sums; biases too. Half precisions: a cast there and back of values and weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mosaic_onnx.backends.base import Array, SliceModel
from mosaic_onnx.core.graph.graphs import node_keys
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.arithmetic import CONVOLUTIONS
from mosaic_onnx.npu.layers.model import layers_of_part, value_facts
from mosaic_onnx.npu.layers.nest import LoopNest

WHOLE_NUMBERS: Mapping[str, type[np.signedinteger]] = {"int8": np.int8, "int16": np.int16}
HALF_PRECISIONS = {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
_DOMAIN = "com.microsoft"
"""Its quantisation takes 16-bit numbers too, in a model of any opset."""
_QUANTISED_WEIGHTS = {**CONVOLUTIONS, "ConvTranspose": 1, "MatMul": 1, "Gemm": 1}
"""Operator type → position of the weight that is quantised; biases and tables are kept."""

Ranges = Mapping[str, tuple[float, float]]
"""Least and largest number of each value that is stored, as a sample had them."""


@dataclass(frozen=True)
class StoredValues:
    """The float values of a slice that the NPU stores in its memory.

    Attributes:
        inputs: of the slice.
        made: by its nodes; what is made inside of a fused operator is never stored.
    """

    inputs: tuple[str, ...]
    made: tuple[str, ...]


def stored_values(model: onnx.ModelProto, hardware: Hardware) -> StoredValues:
    """Return which values of a slice are rounded.

    Args:
        model: the slice; value infos state its types (they are inferred where there are none).
        hardware: decides what fuses.
    """
    if not model.graph.value_info and model.graph.node:
        model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    facts = value_facts(graph)
    nodes = list(zip(node_keys(graph), graph.node, strict=True))
    layers, _ = layers_of_part(nodes, [value.name for value in graph.output], facts, hardware)
    inner = {key for layer in layers if isinstance(layer, LoopNest) for key in layer.nodes[:-1]}
    readers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    made = tuple(
        name
        for key, node in nodes
        for name in node.output
        if key not in inner
        and node.op_type not in ("DequantizeLinear", "Constant")
        and facts.types.get(name) == TensorProto.FLOAT
        and readers.get(name) != {"QuantizeLinear"}
    )
    inputs = tuple(
        value.name
        for value in graph.input
        if value.name not in facts.parameters and value.type.tensor_type.elem_type == TensorProto.FLOAT
    )
    return StoredValues(inputs, made)


def with_outputs(model: SliceModel, names: Iterable[str]) -> SliceModel:
    """Return the slice with more float values as outputs, to see their ranges."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model.model)
    added = [name for name in names if name not in model.outputs]
    copy.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in added)
    return SliceModel(copy, model.folder, model.inputs, (*model.outputs, *added), model.is_optimised)


def ranges_of(tensors: Mapping[str, Array]) -> dict[str, tuple[float, float]]:
    """Return the least and largest finite number of each tensor, zero included."""
    found = {}
    for name, array in tensors.items():
        finite = array[np.isfinite(array)]
        found[name] = (float(finite.min(initial=0.0)), float(finite.max(initial=0.0)))
    return found


def rounded(model: SliceModel, stored: StoredValues, precision: str, ranges: Ranges) -> SliceModel:
    """Return the slice with every stored value and weight rounded to a precision.

    Args:
        model: the slice.
        stored: values to round.
        precision: ``int8``, ``int16``, ``f16``, ``bf16``; anything else rounds nothing.
        ranges: of the stored values, for whole numbers.
    """
    if precision not in WHOLE_NUMBERS and precision not in HALF_PRECISIONS:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model.model)
    writer = _Rounding(copy.graph, model.folder, precision, ranges)
    writer.round_all(stored)
    if precision in WHOLE_NUMBERS and not any(each.domain == _DOMAIN for each in copy.opset_import):
        copy.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return SliceModel(copy, model.folder, model.inputs, model.outputs, model.is_optimised)


class _Rounding:
    """Writes rounding nodes into a graph."""

    def __init__(self, graph: onnx.GraphProto, folder: str | None, precision: str, ranges: Ranges) -> None:
        self.graph = graph
        self.folder = folder
        self.precision = precision
        self.ranges = ranges
        self.taken = {name for node in graph.node for name in (*node.input, *node.output)}

    def round_all(self, stored: StoredValues) -> None:
        """Round inputs and weights before the first node, and what each node makes right behind it."""
        before: list[onnx.NodeProto] = []
        renamed: dict[str, str] = {}
        for name in stored.inputs:
            renamed[name] = self._fresh(name)
            before += self._pair(name, renamed[name], *self._scale_of(name))
        nodes, made = list(self.graph.node), set(stored.made)
        for tensor, axis in self._weights(nodes):
            renamed[tensor.name] = self._fresh(tensor.name)
            before += self._pair(tensor.name, renamed[tensor.name], *self._weight_scale(tensor, axis), axis=axis)
        after: list[onnx.NodeProto] = []
        for node in nodes:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            after.append(node)
            for at, name in enumerate(node.output):
                if name in made:
                    node.output[at] = self._fresh(name)
                    after += self._pair(node.output[at], name, *self._scale_of(name))
        del self.graph.node[:]
        self.graph.node.extend([*before, *after])

    def _pair(
        self, source: str, target: str, scale: Array | None, zero: Array | None, axis: int | None = None
    ) -> list[onnx.NodeProto]:
        """Return the nodes that round a value; with a scale, to whole numbers."""
        between = self._fresh(source)
        if scale is None or zero is None:
            narrow = helper.make_node(
                "Cast", [source], [between], f"{target}/round", to=HALF_PRECISIONS[self.precision]
            )
            return [narrow, helper.make_node("Cast", [between], [target], f"{target}/widen", to=TensorProto.FLOAT)]
        names = [self._constant(source, scale), self._constant(source, zero)]
        extra: dict[str, Any] = {} if axis is None or not scale.ndim else {"axis": axis}
        quantise = helper.make_node(
            "QuantizeLinear", [source, *names], [between], f"{target}/quantise", domain=_DOMAIN, **extra
        )
        dequantise = helper.make_node(
            "DequantizeLinear", [between, *names], [target], f"{target}/dequantise", domain=_DOMAIN, **extra
        )
        return [quantise, dequantise]

    def _constant(self, near: str, value: Array) -> str:
        name = self._fresh(near)
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _scale_of(self, name: str) -> tuple[Array | None, Array | None]:
        """Return scale and zero point of a value, zero exactly representable; None for half precisions."""
        kind = WHOLE_NUMBERS.get(self.precision)
        if kind is None:
            return None, None
        least, most = np.iinfo(kind).min, np.iinfo(kind).max
        low, high = self.ranges.get(name, (0.0, 0.0))
        scale = np.float32((high - low) / (most - least)) or np.float32(1.0)
        zero = int(np.clip(np.rint(least - low / float(scale)), least, most))
        return np.array(scale, np.float32), np.array(zero, kind)

    def _weight_scale(self, tensor: onnx.TensorProto, axis: int | None) -> tuple[Array | None, Array | None]:
        """Return scale and zero point of a weight, symmetric, one an output channel; None for half precisions."""
        kind = WHOLE_NUMBERS.get(self.precision)
        if kind is None or axis is None:
            return None, None
        values = np.abs(numpy_helper.to_array(tensor, self.folder or ""))
        others = tuple(each for each in range(values.ndim) if each != axis % values.ndim)
        scale = (values.max(axis=others, initial=0.0) / np.iinfo(kind).max).astype(np.float32)
        scale[scale == 0] = 1.0
        return scale, np.zeros(scale.shape, kind)

    def _weights(self, nodes: Sequence[onnx.NodeProto]) -> list[tuple[onnx.TensorProto, int | None]]:
        """Return the float weights to round, with the axis of their output channels; half precisions round them all."""
        floats = {each.name: each for each in self.graph.initializer if each.data_type == TensorProto.FLOAT}
        if self.precision in HALF_PRECISIONS:
            return [(tensor, None) for tensor in floats.values()]
        found: dict[str, tuple[onnx.TensorProto, int | None]] = {}
        for node in nodes:
            at = _QUANTISED_WEIGHTS.get(node.op_type)
            if at is not None and at < len(node.input) and node.input[at] in floats:
                tensor = floats[node.input[at]]
                found[tensor.name] = tensor, _channel_axis(node, tensor)
        return list(found.values())

    def _fresh(self, near: str) -> str:
        name = f"{near}/stored"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def _channel_axis(node: onnx.NodeProto, tensor: onnx.TensorProto) -> int:
    """Return the axis of a weight's output channels."""
    if node.op_type in CONVOLUTIONS:
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm" and any(each.name == "transB" and each.i for each in node.attribute):
        return 0
    return len(tensor.dims) - 1
