from __future__ import annotations

import onnx
import pytest
from onnx import parser

from mosaic_onnx.verification.marks import Marks, find_marks


def marks_of(graph: str, opset: int = 17, functions: str = "") -> Marks:
    domains = f'["": {opset}, "local": 1, "com.microsoft": 1]'
    return find_marks(parser.parse_model(f"<ir_version: 8, opset_import: {domains}> {graph} {functions}"))


@pytest.mark.parametrize(
    "operator",
    [
        "RandomNormalLike(x)",
        "RandomUniformLike(x)",
        "Multinomial(x)",
        "Bernoulli(x)",
        "com.microsoft.BiasDropout(x)",
    ],
)
def test_everything_after_a_random_operator_is_marked_with_its_name(operator: str) -> None:
    nodes = f"{{ r = {operator}\n y = Relu(r)\n z = Relu(x) }}"
    marks = marks_of(f"g (float[2, 2] x) => (float[2, 2] y, float[2, 2] z) {nodes}")
    name = operator.partition("(")[0].replace("com.microsoft.", "com.microsoft::")
    assert marks.random == {"r": (name,), "y": (name,)}


def test_a_random_operator_within_a_body_or_a_function_marks_the_node_around_it() -> None:
    body = """g (bool c, float[2] x) => (float[2] y) {
        y = If(c) <then_branch = yes () => (float[2] a) { a = RandomNormalLike(x) },
                   else_branch = no () => (float[2] b) { b = Relu(x) }> }"""
    assert set(marks_of(body).random) == {"y"}
    function = '<domain: "local", opset_import: ["": 17]> Noise (x) => (o) { o = RandomNormalLike(x) }'
    assert set(marks_of("g (float[2] x) => (float[2] y) { y = local.Noise(x) }", functions=function).random) == {"y"}


def test_a_dropout_is_random_only_where_it_trains() -> None:
    text = """g (float[2] x) => (float[2] y, float[2] z) {{
        ratio = Constant<value = float {{0.5}}>()
        train = Constant<value = bool {{{train}}}>()
        y = Dropout(x, ratio, train)
        z = Dropout(x, ratio) }}"""
    assert set(marks_of(text.format(train=1)).random) == {"y"}
    assert not marks_of(text.format(train=0)).random
    assert set(marks_of("g (float[2] x) => (float[2] y) { y = Dropout<is_test = 0>(x) }", opset=6).random) == {"y"}
    assert not marks_of("g (float[2] x) => (float[2] y) { y = Dropout<is_test = 1>(x) }", opset=6).random


QDQ = """g (float[2] x) => (float[2] y) <float s = {0.5}, uint8 z = {3}> {
    q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    r = Relu(d)
    y = Softmax(r) }"""


def test_everything_after_quantisation_is_marked() -> None:
    assert marks_of(QDQ).quantised == {"q", "d", "r", "y"}
    assert not marks_of("g (float[2] x) => (float[2] y) { y = Relu(x) }").quantised


def test_the_step_is_known_as_long_as_values_are_only_moved() -> None:
    assert marks_of(QDQ).steps == {"q": 1.0, "d": 0.5, "r": 0.5}


def test_a_step_given_as_an_input_is_not_known() -> None:
    marks = marks_of("g (uint8[2] q, float s) => (float[2] y) { y = DequantizeLinear(q, s) }")
    assert not marks.steps


def test_values_of_bounded_functions_are_marked_as_long_as_they_are_only_moved() -> None:
    graph = """g (float[1, 2] x) => (float[2] m, float[1, 4] c, float[1, 4] n) <int64[1] axes = {0}> {
        s = Sigmoid(x)
        m = Squeeze(s, axes)
        t = Tanh(x)
        c = Concat<axis = 1>(s, t)
        d = Mul(s, x)
        n = Concat<axis = 1>(s, d) }"""
    assert marks_of(graph).bounded == {"s", "m", "t", "c"}


def test_the_walk_leaves_the_model_as_it_is() -> None:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {QDQ}')
    before = model.SerializeToString()
    find_marks(model)
    assert isinstance(model, onnx.ModelProto)
    assert model.SerializeToString() == before
