"""Small slices with known outputs, which the conformance suite loads and runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mosaic_onnx.backends.base import SliceModel

_OPSET = 17
_IR_VERSION = 8
Numbers = NDArray[Any]
Reference = Callable[[Mapping[str, Numbers]], dict[str, Numbers]]


@dataclass(frozen=True)
class Sample:
    """A slice, inputs for it, and a reference for its outputs.

    Attributes:
        name: its name in messages.
        model: the slice.
        inputs: host arrays by name.
        reference: its outputs, computed with numpy.
    """

    name: str
    model: SliceModel
    inputs: Mapping[str, Numbers]
    reference: Reference

    def outputs(self, **other: Numbers) -> dict[str, Numbers]:
        """Return the expected outputs for its inputs, some of which ``other`` replaces."""
        return self.reference({**self.inputs, **other})


def _slice(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, Numbers],
    outputs: Mapping[str, Numbers],
    weights: Mapping[str, Numbers] | None = None,
    free_dims: bool = False,
) -> SliceModel:
    """Return a slice whose inputs and outputs have the types and shapes of some arrays."""

    def value(key: str, array: Numbers) -> onnx.ValueInfoProto:
        shape = ["n", *array.shape[1:]] if free_dims else array.shape
        return helper.make_tensor_value_info(key, _element_type(array), shape)

    graph = helper.make_graph(
        nodes,
        name,
        [value(key, array) for key, array in inputs.items()],
        [value(key, array) for key, array in outputs.items()],
        [numpy_helper.from_array(array, key) for key, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    return SliceModel(model, None, tuple(inputs), tuple(outputs))


def _element_type(array: Numbers) -> int:
    return TensorProto.STRING if array.dtype.kind == "O" else helper.np_dtype_to_tensor_dtype(array.dtype)


def _sample(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, Numbers],
    reference: Reference,
    weights: Mapping[str, Numbers] | None = None,
    free_dims: bool = False,
) -> Sample:
    return Sample(name, _slice(name, nodes, inputs, reference(inputs), weights, free_dims), inputs, reference)


def _floats(*shape: int, seed: int = 0) -> Numbers:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def chain() -> Sample:
    """Return ``y = |x + 0.5|``."""
    nodes = [
        helper.make_node("Add", ["x", "half"], ["moved"], name="add"),
        helper.make_node("Abs", ["moved"], ["y"], name="abs"),
    ]
    half = np.float32(0.5)
    weights = {"half": np.full(1, half, np.float32)}
    return _sample("chain", nodes, {"x": _floats(2, 8)}, lambda fed: {"y": np.abs(fed["x"] + half)}, weights)


def shift() -> Sample:
    """Return ``z = y - 2``, of the shape of ``chain``'s output."""
    nodes = [helper.make_node("Sub", ["y", "two"], ["z"], name="sub")]
    two = np.full(1, 2, np.float32)
    return _sample("shift", nodes, {"y": _floats(2, 8, seed=1)}, lambda fed: {"z": fed["y"] - two}, {"two": two})


def network() -> Sample:
    """Return a convolution, a Relu, a pooling, a matrix product: NCHW in, logits out."""
    kernel, matrix = _floats(4, 3, 1, 1, seed=2), _floats(4, 5, seed=3)

    def reference(fed: Mapping[str, Numbers]) -> dict[str, Numbers]:
        convolved = np.einsum("oc,nchw->nohw", kernel[:, :, 0, 0], fed["x"])
        return {"logits": np.maximum(convolved, 0).mean(axis=(2, 3)).astype(np.float32) @ matrix}

    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["features"], name="conv", kernel_shape=[1, 1]),
        helper.make_node("Relu", ["features"], ["active"], name="relu"),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("MatMul", ["flat", "matrix"], ["logits"], name="matmul"),
    ]
    return _sample("network", nodes, {"x": _floats(1, 3, 6, 6)}, reference, {"kernel": kernel, "matrix": matrix})


def two_outputs() -> Sample:
    """Return a slice with two inputs and two outputs; one is read inside too, names are not in alphabetical order."""
    nodes = [
        helper.make_node("Mul", ["b", "a"], ["z"], name="mul"),
        helper.make_node("Add", ["z", "a"], ["c"], name="add"),
    ]
    inputs = {"b": _floats(2, 3), "a": _floats(2, 3, seed=1)}
    return _sample(
        "two_outputs", nodes, inputs, lambda fed: {"z": fed["b"] * fed["a"], "c": fed["b"] * fed["a"] + fed["a"]}
    )


def scalar() -> Sample:
    """Return a slice whose input has rank 0."""
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"], name="mul")]
    inputs = {"x": _floats(2, 3), "factor": np.array(2.5, np.float32)}
    return _sample("scalar", nodes, inputs, lambda fed: {"y": fed["x"] * fed["factor"]})


def dynamic(extent: int) -> Sample:
    """Return a slice whose first dimension is free, with inputs of one extent."""
    nodes = [helper.make_node("Abs", ["x"], ["y"], name="abs")]
    return _sample("dynamic", nodes, {"x": _floats(extent, 4)}, lambda fed: {"y": np.abs(fed["x"])}, free_dims=True)


def empty() -> Sample:
    """Return a slice with tensors without elements."""
    nodes = [helper.make_node("Abs", ["x"], ["y"], name="abs")]
    return _sample("empty", nodes, {"x": _floats(0, 4)}, lambda fed: {"y": np.abs(fed["x"])})


def types() -> list[Sample]:
    """Return slices of one operator in each element type, with values that wrap, and values beyond 32 bits."""
    samples = []
    for name in ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
        limits = np.iinfo(name)
        a = np.array([limits.max, limits.max // 2, 3, limits.min], name)
        inputs = {"a": a, "b": np.array([2, 5, 4, 1], name)}
        nodes = [helper.make_node("Sub", ["a", "b"], ["y"], name="sub")]
        samples.append(_sample(f"sub_{name}", nodes, inputs, lambda fed: {"y": fed["a"] - fed["b"]}))
    for name in ("float16", "float32", "float64"):
        inputs = {"x": _floats(2, 3).astype(name)}
        samples.append(_sample(f"neg_{name}", [helper.make_node("Neg", ["x"], ["y"], name="neg")], inputs, _negate))
    flags = {"x": np.array([True, False, True])}
    samples.append(_sample("not_bool", [helper.make_node("Not", ["x"], ["y"], name="not")], flags, _invert))
    words = {"x": np.array(["cut", "", "here"], object)}
    samples.append(_sample("identity_string", [helper.make_node("Identity", ["x"], ["y"], name="id")], words, _same))
    numbers = {"x": _floats(2, 3)}
    cast = [helper.make_node("Cast", ["x"], ["y"], name="cast", to=TensorProto.INT32)]
    samples.append(_sample("cast_int32", cast, numbers, lambda fed: {"y": fed["x"].astype(np.int32)}))
    compare = [helper.make_node("Greater", ["x", "zero"], ["y"], name="greater")]
    zero = {"zero": np.zeros(1, np.float32)}
    samples.append(_sample("greater_bool", compare, numbers, lambda fed: {"y": fed["x"] > 0}, zero))
    return samples


def _negate(fed: Mapping[str, Numbers]) -> dict[str, Numbers]:
    return {"y": -fed["x"]}


def _invert(fed: Mapping[str, Numbers]) -> dict[str, Numbers]:
    return {"y": ~fed["x"]}


def _same(fed: Mapping[str, Numbers]) -> dict[str, Numbers]:
    return {"y": fed["x"]}


def external(folder: str) -> Sample:
    """Return a slice whose weights lie in ``folder``."""
    weights = _floats(2, 8, seed=4)
    (Path(folder) / "weights.bin").write_bytes(weights.tobytes())
    nodes = [helper.make_node("Add", ["x", "w"], ["y"], name="add")]
    sample = _sample("external", nodes, {"x": _floats(2, 8)}, lambda fed: {"y": fed["x"] + weights})
    tensor = sample.model.model.graph.initializer.add(
        name="w", data_type=TensorProto.FLOAT, dims=weights.shape, data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": "weights.bin", "offset": "0", "length": str(weights.nbytes)}.items():
        tensor.external_data.add(key=key, value=value)
    model = SliceModel(sample.model.model, folder, sample.model.inputs, sample.model.outputs)
    return Sample(sample.name, model, sample.inputs, sample.reference)


def foreign() -> SliceModel:
    """Return a slice with an operator of an unknown domain."""
    x = {"x": _floats(2, 3)}
    made = _slice(
        "foreign", [helper.make_node("Foo", ["x"], ["y"], name="foo", domain="no.such.domain")], x, {"y": x["x"]}
    )
    made.model.opset_import.append(helper.make_opsetid("no.such.domain", 1))
    return made
