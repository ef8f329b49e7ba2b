"""Small slices that the backend tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from mosaic_onnx.backends.base import SliceModel


def slice_of(text: str, folder: str | None = None) -> SliceModel:
    """A slice from ONNX text; a graph name is needed and nothing else."""
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model)
    graph = model.graph
    return SliceModel(model, folder, tuple(i.name for i in graph.input), tuple(o.name for o in graph.output))


def unary(operator: str, type_name: str = "float", shape: str = "[2,3]", opset: int = 21) -> SliceModel:
    """One node from x to y."""
    return slice_of(
        f'<ir_version: 10, opset_import: ["": {opset}]> {operator.lower()} ({type_name}{shape} x) => '
        f"({type_name}{shape} y) {{ [only] y = {operator}(x) }}"
    )


def seeded_squeezenet(extent: int = 224) -> onnx.ModelProto:
    """SqueezeNet as the onnx package ships it, for images of some extent, with seeded weights for its constant ones."""
    path = Path(onnx.__file__).parent / "backend/test/data/light/light_squeezenet.onnx"
    model = onnx.load(path)
    rng = np.random.default_rng(0)
    given = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape":
            shape = numpy_helper.to_array(given.pop(node.input[0]))
            spread = np.sqrt(2 / np.prod(shape[1:])) if len(shape) == 4 else 0.01
            values = (rng.standard_normal(shape) * spread).astype(np.float32)
            given[node.output[0]] = numpy_helper.from_array(values, node.output[0])
        else:
            nodes.append(node)
    image = helper.make_tensor_value_info("data_0", onnx.TensorProto.FLOAT, [1, 3, extent, extent])
    graph = helper.make_graph(
        nodes,
        "squeezenet",
        [image],
        model.graph.output,
        list(given.values()),
    )
    model.graph.CopyFrom(graph)
    model.ir_version = 8
    return shape_inference.infer_shapes(model)
