"""Random models that are valid: same seed, same model."""

from __future__ import annotations

import random

import onnx
from onnx import TensorProto, helper

from tests.fuzz.generator.builder import Builder, Value
from tests.fuzz.generator.control_flow import CONTROL_FLOW, grow
from tests.fuzz.generator.operators import PLAIN

_SHAPES = ((2, 3), (1, 2, 6, 6), (4,), (3, 4, 5), (1, 9), (), (2, 1, 4))
_ELEMENTS = (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64)


def random_model(seed: int, most_nodes: int = 25) -> onnx.ModelProto:
    """Draw a model of up to about ``most_nodes`` nodes with concrete shapes.

    Every operator gets operands of a type and shape that it takes, as in NNSmith (Liu et al., ASPLOS 2023), found by
    rules instead of a solver. Values that nothing reads are outputs, and some that are read.
    """
    draw = random.Random(seed)
    builder = Builder(draw)
    inputs = [
        Value(f"input{number}", draw.choice(_ELEMENTS), draw.choice(_SHAPES)) for number in range(draw.randint(1, 3))
    ]
    inputs.append(Value("image", TensorProto.FLOAT, (1, 2, 6, 6)))
    builder.values += inputs
    grow(builder, draw.randint(2, most_nodes), (*PLAIN, *PLAIN, *CONTROL_FLOW))
    made = [value for value in builder.values if value not in inputs]
    outputs = [value for value in made if value.name not in builder.read or draw.random() < 0.1]
    graph = helper.make_graph(
        builder.nodes,
        f"random_{seed}",
        [value.info() for value in inputs],
        [value.info() for value in outputs],
        builder.weights,
    )
    imports = [helper.make_opsetid("", 21), *([helper.make_opsetid("own", 1)] if builder.functions else [])]
    return helper.make_model(graph, opset_imports=imports, functions=builder.functions, ir_version=10)
