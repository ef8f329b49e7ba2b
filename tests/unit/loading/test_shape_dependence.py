"""Shapes that follow the values of the inputs are told from those that follow their shapes."""

from __future__ import annotations

import pytest
from onnx import parser

from mosaic_onnx.loading.shape_dependence import changing_functions, changing_shapes


def changing(body: str, inputs: str = "float[4] x, int64[1] n") -> set[str]:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21, "own" : 1]> g (' + inputs + ") => (float[?] y) { " + body + " }"
    )
    names = [value.name for value in model.graph.input]
    return changing_shapes(model.graph.node, names, (), changing_functions(model.functions))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Relu(x)", set()),
        ("s = Shape(x)  y = Reshape(x, s)", set()),
        ("y = Reshape(x, n)", {"y"}),
        ("y = NonZero(x)", {"y"}),
        ("a = NonZero(x)  b = Cast<to = 1>(a)  y = Relu(b)", {"a", "b", "y"}),
        ("a = NonZero(x)  s = Shape(a)  y = ConstantOfShape(s)", {"a", "y"}),
        ("c = Cast<to = 7>(x)  y = ConstantOfShape(c)", {"y"}),
        ("i = Gather(x, n)  y = Relu(i)", set()),
        ("k = Cast<to = 7>(x)  y, j = TopK(x, k)", {"y", "j"}),
        ("r = RandomNormal<shape = [1]>()  k = Cast<to = 7>(r)  y = ConstantOfShape(k)", {"y"}),
    ],
)
def test_what_changes_from_run_to_run(body: str, expected: set[str]) -> None:
    assert changing(body) == expected


def test_what_inference_knows_does_not_change() -> None:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[4] x, int64[1] n) => (float[?] y) { y = Reshape(x, n) }'
    )
    assert changing_shapes(model.graph.node, ["x", "n"], {"y"}) == set()


def test_functions_are_looked_into() -> None:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21, "own" : 1]> g (float[4] x) => (float[?] y, float[?] z) '
        "{ y = own.Some(x)  z = own.Same(x) }"
        '<opset_import: ["" : 21, "own" : 1], domain: "own"> Some (a) => (b) { b = own.Inner(a) }'
        '<opset_import: ["" : 21], domain: "own"> Inner (a) => (b) { c = NonZero(a)  b = Cast<to = 1>(c) }'
        '<opset_import: ["" : 21], domain: "own"> Same (a) => (b) { s = Shape(a)  b = ConstantOfShape(s) }'
    )
    functions = changing_functions(model.functions)
    assert functions == {("own", "Some", ""), ("own", "Inner", "")}
    assert changing_shapes(model.graph.node, ["x"], (), functions) == {"y"}
