"""A builder of convolutional networks in ONNX: NCHW, f32, known shapes, batch norm folded where TF folds it.

Every node is named ``Lnn/…`` after the paper's layer that it belongs to (from 1) and carries it as metadata
``mosaic.layer``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, prod
from typing import Literal

import onnx
from onnx import TensorProto, helper

from mosaic_onnx.zoo.weights import Weights, he_deviation, integers

OPSET = 21
IR_VERSION = 10
LAYER_KEY = "mosaic.layer"

Padding = Literal["same", "valid"]
Activation = Literal["relu", "relu6", "none"]
Kernel = int | tuple[int, int]


@dataclass(frozen=True)
class Value:
    """A tensor of the network: its name and concrete shape (N, C, H, W) or (N, features)."""

    name: str
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Return dimension 1."""
        return self.shape[1]


@dataclass
class NetBuilder:
    """Collects nodes; call ``layer`` before the first operator of each layer and ``finish`` at the end."""

    name: str
    weights: Weights
    _layer: str = "L01"
    _nodes: list[onnx.NodeProto] = field(default_factory=list)
    _initialisers: list[TensorProto] = field(default_factory=list)
    _shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)
    _input: Value | None = None

    def input(self, shape: tuple[int, ...]) -> Value:
        """Return the network's only input."""
        self._input = Value("input", shape)
        return self._input

    def layer(self, number: int) -> None:
        """Start the paper's layer ``number`` (from 1): later nodes belong to it."""
        self._layer = f"L{number:02d}"

    def conv(
        self,
        x: Value,
        channels: int,
        kernel: Kernel,
        stride: int = 1,
        *,
        padding: Padding = "same",
        groups: int = 1,
        activation: Activation = "relu",
        gain: float = 1.0,
        name: str = "conv",
    ) -> Value:
        """Return a convolution with bias (a folded batch norm) and its activation."""
        out = self._convolve(x, channels, _pair(kernel), stride, groups=groups, padding=padding, gain=gain, name=name)
        return self._activate(out, activation, name)

    def depthwise(
        self, x: Value, kernel: Kernel, stride: int = 1, *, activation: Activation = "relu", name: str = "depthwise"
    ) -> Value:
        """Return a depthwise convolution (multiplier 1) with bias and its activation."""
        out = self._convolve(x, x.channels, _pair(kernel), stride, groups=x.channels, name=name)
        return self._activate(out, activation, name)

    def batch_norm_relu(self, x: Value, name: str = "preact") -> Value:
        """Return a batch norm that no convolution before it can absorb, and its ReLU."""
        names = [f"{self._layer}/{name}/{part}" for part in ("scale", "shift", "mean", "variance")]
        for key, deviation, mean in zip(names, (0.05, 0.05, 0.05, 0.0), (1.0, 0.0, 0.0, 1.0), strict=True):
            self._initialisers.append(self.weights.normal(key, (x.channels,), deviation, mean))
        normed = self._node("BatchNormalization", [x.name, *names], x.shape, f"{name}/bn", epsilon=1e-5)
        return self._activate(normed, "relu", name)

    def max_pool(self, x: Value, kernel: int, stride: int, padding: Padding = "valid", name: str = "pool") -> Value:
        """Return a max pool."""
        return self._pool("MaxPool", x, (kernel, stride), padding, name)

    def average_pool(self, x: Value, kernel: int, stride: int, padding: Padding = "valid", name: str = "pool") -> Value:
        """Return an average pool that does not count padding, as TensorFlow's."""
        return self._pool("AveragePool", x, (kernel, stride), padding, name)

    def global_average_pool(self, x: Value, name: str = "pool") -> Value:
        """Return the mean over height and width, as a vector (N, C)."""
        pooled = self._node("GlobalAveragePool", [x.name], (*x.shape[:2], 1, 1), name)
        return self.flatten(pooled, f"{name}/flatten")

    def spatial_mean(self, x: Value, name: str = "mean") -> Value:
        """Return the mean over height and width by ``ReduceMean``, as TF-slim's ResNet V2 does: (N, C)."""
        axes = integers(f"{self._layer}/{name}/axes", [2, 3])
        self._initialisers.append(axes)
        return self._node("ReduceMean", [x.name, axes.name], x.shape[:2], name, keepdims=0)

    def pad(self, x: Value, before: int, after: int, name: str = "pad") -> Value:
        """Return the value padded with zeros by an explicit ``Pad`` (TF-slim's ``conv2d_same``)."""
        pads = integers(f"{self._layer}/{name}/pads", [0, 0, before, before, 0, 0, after, after])
        self._initialisers.append(pads)
        extra = before + after
        shape = (*x.shape[:2], x.shape[2] + extra, x.shape[3] + extra)
        return self._node("Pad", [x.name, pads.name], shape, name)

    def concat(self, parts: Sequence[Value], name: str = "concat") -> Value:
        """Return the concatenation along channels."""
        first = parts[0].shape
        shape = (first[0], sum(part.channels for part in parts), *first[2:])
        return self._node("Concat", [part.name for part in parts], shape, name, axis=1)

    def add(self, left: Value, right: Value, name: str = "add") -> Value:
        """Return the sum of two values."""
        return self._node("Add", [left.name, right.name], left.shape, name)

    def flatten(self, x: Value, name: str = "flatten") -> Value:
        """Return the value (N, C, H, W) as (N, C·H·W)."""
        return self._node("Flatten", [x.name], (x.shape[0], prod(x.shape[1:])), name, axis=1)

    def fully_connected(self, x: Value, features: int, activation: Activation = "none", name: str = "fc") -> Value:
        """Return x·Wᵀ + b with W (features, inputs)."""
        gain = 1.0 if activation == "relu" else 0.7
        weight = self._weight(f"{name}/weight", (features, x.shape[1]), he_deviation(x.shape[1], gain))
        bias = self._weight(f"{name}/bias", (features,), 0.01)
        out = self._node("Gemm", [x.name, weight, bias], (x.shape[0], features), name, transB=1)
        return self._activate(out, activation, name)

    def softmax(self, x: Value, name: str = "softmax") -> Value:
        """Return the softmax over the last axis."""
        return self._node("Softmax", [x.name], x.shape, name, axis=-1)

    def finish(self, output: Value) -> onnx.ModelProto:
        """Return the model: opset 21, IR 10, with every tensor's shape."""
        if self._input is None:
            raise ValueError("the network has no input")
        infos = [_info(name, shape) for name, shape in self._shapes.items() if name != output.name]
        graph = helper.make_graph(
            self._nodes,
            self.name,
            [_info(self._input.name, self._input.shape)],
            [_info(output.name, output.shape)],
            self._initialisers,
            value_info=infos,
        )
        return helper.make_model(
            graph,
            producer_name="mosaic-onnx zoo",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )

    def _convolve(
        self,
        x: Value,
        channels: int,
        kernel: tuple[int, int],
        stride: int,
        *,
        groups: int = 1,
        padding: Padding = "same",
        gain: float = 1.0,
        name: str,
    ) -> Value:
        """Return ``Conv`` with bias; gain scales the weights."""
        shape = (channels, x.channels // groups, *kernel)
        weight = self._weight(f"{name}/weight", shape, he_deviation(prod(shape[1:]), gain))
        bias = self._weight(f"{name}/bias", (channels,), 0.01)
        spatial, pads = _windows(x.shape[2:], kernel, stride, padding)
        return self._node(
            "Conv",
            [x.name, weight, bias],
            (x.shape[0], channels, *spatial),
            name,
            kernel_shape=list(kernel),
            strides=[stride, stride],
            pads=pads,
            group=groups,
        )

    def _pool(self, op_type: str, x: Value, window: tuple[int, int], padding: Padding, name: str) -> Value:
        kernel, stride = window
        spatial, pads = _windows(x.shape[2:], (kernel, kernel), stride, padding)
        shape = (*x.shape[:2], *spatial)
        return self._node(op_type, [x.name], shape, name, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)

    def _activate(self, x: Value, activation: Activation, name: str) -> Value:
        if activation == "none":
            return x
        if activation == "relu":
            return self._node("Relu", [x.name], x.shape, f"{name}/relu")
        bounds = [self._scalar("zero", 0.0), self._scalar("six", 6.0)]
        return self._node("Clip", [x.name, *bounds], x.shape, f"{name}/relu6")

    def _scalar(self, name: str, value: float) -> str:
        """Return one shared scalar initialiser."""
        if name not in self._used:
            self._used.add(name)
            self._initialisers.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
        return name

    def _weight(self, name: str, shape: tuple[int, ...], deviation: float) -> str:
        full = f"{self._layer}/{name}"
        self._initialisers.append(self.weights.normal(full, shape, deviation))
        return full

    def _node(
        self, op_type: str, inputs: list[str], shape: Sequence[int], name: str, **attributes: int | float | list[int]
    ) -> Value:
        full = f"{self._layer}/{name}"
        if full in self._used:
            raise ValueError(f"{self.name}: two nodes are named {full!r}")
        self._used.add(full)
        node = helper.make_node(op_type, inputs, [f"{full}:0"], name=full)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        node.metadata_props.add(key=LAYER_KEY, value=self._layer)
        self._nodes.append(node)
        value = Value(f"{full}:0", tuple(int(dimension) for dimension in shape))
        self._shapes[value.name] = value.shape
        return value


def _pair(kernel: Kernel) -> tuple[int, int]:
    return kernel if isinstance(kernel, tuple) else (kernel, kernel)


def _windows(
    spatial: Sequence[int], kernel: tuple[int, int], stride: int, padding: Padding
) -> tuple[tuple[int, ...], list[int]]:
    """Return output height and width, and pads [top, left, bottom, right]; ``same`` puts the odd zero last, like TF."""
    if padding == "valid":
        return tuple((size - k) // stride + 1 for size, k in zip(spatial, kernel, strict=True)), [0, 0, 0, 0]
    outputs = tuple(ceil(size / stride) for size in spatial)
    totals = [max((out - 1) * stride + k - size, 0) for out, k, size in zip(outputs, kernel, spatial, strict=True)]
    before = [total // 2 for total in totals]
    return outputs, [*before, *(total - start for total, start in zip(totals, before, strict=True))]


def _info(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
