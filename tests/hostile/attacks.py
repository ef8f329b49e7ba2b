"""Building blocks of hostile files, and the checks of their refusal."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.loading.model import Limits, open_model

REFUSED_WITHIN_S = 30.0


def relu_model(*, weight: TensorProto | None = None) -> onnx.ModelProto:
    """y = x + w, small and sound."""
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> '
        "{ h = Relu(x)  y = Add(h, w) }"
    )
    if weight is not None:
        model.graph.initializer[0].CopyFrom(weight)
    return model


def external(location: str, dims: tuple[int, ...] = (2,), **words: str) -> TensorProto:
    """Tensor ``w`` whose bytes lie elsewhere."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **words}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def save(model: onnx.ModelProto, folder: Path) -> Path:
    """Write a model as it is, whatever is wrong with it."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def refuse(path: Path, words: str, limits: Limits | None = None) -> ModelError:
    """The model must be refused in time, with these words."""
    started_s = time.monotonic()
    with pytest.raises(ModelError, match=words) as caught:
        open_model(path, limits)
    assert time.monotonic() - started_s < REFUSED_WITHIN_S
    assert caught.value.exit_code == 1
    return caught.value


def sparse_initialiser(tensor: TensorProto) -> onnx.ModelProto:
    model = relu_model()
    indices = numpy_helper.from_array(np.array([0, 1]), "i")
    model.graph.initializer.pop()
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=tensor, indices=indices, dims=[2]))
    return model


def varint(number: int) -> bytes:
    """Protobuf's variable-length integer."""
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def message(number: int, payload: bytes) -> bytes:
    """A field that holds bytes, text or another message, as it stands in a file."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def nested_branches(depth: int) -> bytes:
    """A model file of Ifs within Ifs (written by hand: protobuf's own readers and writers stop at a depth of 100)."""
    output = message(12, onnx.helper.make_tensor_value_info("o", TensorProto.FLOAT, [2]).SerializeToString())
    graph = message(1, helper.make_node("Relu", ["x"], ["o"]).SerializeToString()) + message(2, b"leaf") + output
    for _ in range(depth):
        attribute = message(1, b"then_branch") + message(6, graph) + varint(20 << 3) + varint(5)
        node = message(1, b"c") + message(2, b"o") + message(4, b"If") + message(5, attribute)
        graph = message(1, node) + message(2, b"level") + output
    for name in ("x", "c"):
        graph += message(11, helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]).SerializeToString())
    header = onnx.ModelProto(ir_version=10, opset_import=[helper.make_opsetid("", 21)]).SerializeToString()
    return header + message(7, graph)


def chain_of_functions(count: int, calls: int, *, closed: bool = False) -> onnx.ModelProto:
    """Functions F0 … each of which calls the next ``calls`` times; the last one calls Relu, or F0 where closed."""
    model = relu_model()
    model.graph.node[0].op_type = "F0"
    model.graph.node[0].domain = "own"
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    model.opset_import.add(domain="own", version=1)
    for number in range(count):
        is_last = number == count - 1
        inner, domain = ("Relu", "") if is_last and not closed else (f"F{(number + 1) % count}", "own")
        names = ["a", *(f"v{call}" for call in range(calls - 1)), "b"]
        body = [helper.make_node(inner, [one], [other], domain=domain) for one, other in pairwise(names)]
        model.functions.append(helper.make_function("own", f"F{number}", ["a"], ["b"], body, imports))
    return model
