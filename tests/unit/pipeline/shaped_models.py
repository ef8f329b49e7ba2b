"""A small transformer whose length is free."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def attention() -> onnx.ModelProto:
    """One head over embedded tokens, with a mask: y = softmax(q kᵀ + (mask − 1)·1e4) v."""
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((random.standard_normal(shape) * 0.1).astype(np.float32), name)

    weights = [weight("table", 50, 32), weight("wq", 32, 32), weight("wk", 32, 32), weight("wv", 32, 32)]
    weights += [numpy_helper.from_array(np.float32(1), "one"), numpy_helper.from_array(np.float32(1e4), "large")]
    weights += [numpy_helper.from_array(np.array([1], np.int64), "axis")]
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "embed"),
        *(helper.make_node("MatMul", ["e", f"w{one}"], [one], one) for one in "qkv"),
        helper.make_node("Transpose", ["k"], ["kt"], "transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"], "scores"),
        helper.make_node("Sub", ["mask", "one"], ["m"], "m"),
        helper.make_node("Mul", ["m", "large"], ["bias"], "bias"),
        helper.make_node("Unsqueeze", ["bias", "axis"], ["wide"], "wide"),
        helper.make_node("Add", ["scores", "wide"], ["masked"], "masked"),
        helper.make_node("Softmax", ["masked"], ["p"], "softmax", axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["y"], "mix"),
    ]
    given = [
        helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, [1, "sequence"]),
        helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1, "sequence"]),
    ]
    made = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, "sequence", 32])]
    model = helper.make_model(helper.make_graph(nodes, "attention", given, made, weights))
    model.ir_version = 8
    model.opset_import[0].version = 17
    return model
