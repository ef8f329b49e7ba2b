"""Ranges of a model's inputs, traced back from the operators that index, size or divide by them."""

from __future__ import annotations

import pytest
from onnx import parser, shape_inference

from mosaic_onnx.loading.ranges.trace import input_ranges
from mosaic_onnx.loading.ranges.value_range import Range


def ranges(text: str, domains: str = "") -> dict[str, Range]:
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21{domains}]> g {text}')
    return input_ranges(shape_inference.infer_shapes(model))


@pytest.mark.parametrize(
    ("nodes", "low", "high"),
    [
        ("y = Gather(table, i)", 0, 9),
        ("c = Cast<to = 7>(i)  y = Gather(table, c)", 0, 9),
        ("two = Constant<value_int = 2>()  s = Add(i, two)  y = Gather(table, s)", -2, 7),
        ("two = Constant<value_int = 2>()  s = Sub(i, two)  y = Gather(table, s)", 2, 11),
        ("two = Constant<value_int = 2>()  s = Sub(two, i)  y = Gather(table, s)", -7, 2),
        ("two = Constant<value_int = 2>()  s = Mul(i, two)  y = Gather(table, s)", 0, 4.5),
        ("n = Neg(i)  y = Gather(table, n)", -9, 0),
        ("a = Identity(i)  y = Gather(table, a)  z = GatherElements(small, a)", 0, 3),
    ],
)
def test_an_index_is_followed_back_to_the_input(nodes: str, low: float, high: float) -> None:
    found = ranges(f"(int64[3] i, float[10] table, float[4] small) => (float[3] y) {{ {nodes} }}")
    assert (found["i"].low, found["i"].high) == (low, high)


def test_an_input_that_nothing_limits_has_no_range() -> None:
    assert ranges("(float[3] x) => (float[3] y) { y = Relu(x) }") == {}


def test_a_clip_that_keeps_to_the_range_asks_for_nothing() -> None:
    text = "(float[2] x, float[10] t) => (float[2] y) <float a = {0}, float b = {9}> "
    assert ranges(text + "{ c = Clip(x, a, b)  i = Cast<to = 7>(c)  y = Gather(t, i) }") == {}


def test_integers_are_never_divided_by_zero() -> None:
    found = ranges("(int64[2] x, int64[2] d) => (int64[2] y) { y = Div(x, d) }")
    assert found["d"].low >= 1


def test_the_domain_of_a_function_is_followed_through_copies_only() -> None:
    assert ranges("(float[2] x) => (float[2] y) { y = Sqrt(x) }")["x"].low == 0
    assert ranges("(float[2] x) => (float[2] y) { t = Identity(x)  y = Sqrt(t) }")["x"].low == 0
    assert "x" not in ranges("(float[2] x) => (float[2] y) { t = Add(x, x)  y = Sqrt(t) }")


def test_a_branch_and_a_loop_ask_for_what_they_capture_and_carry() -> None:
    branch = (
        "(bool c, int64[1] i, float[5] t) => (float[1] y) { y = If(c) <then_branch = a () => (float[1] u) "
        "{ u = Gather(t, i) }, else_branch = b () => (float[1] v) { v = Cast<to = 1>(i) }> }"
    )
    assert ranges(branch)["i"] == Range(0, 4)
    loop = (
        "(int64 n, bool go, int64[1] i, float[5] t) => (int64[1] last, float[k, 1] all) { last, all = Loop(n, go, i) "
        "<body = b (int64 at, bool on, int64[1] now) => (bool still, int64[1] next, float[1] got) "
        "{ still = Identity(on)  next = Identity(now)  got = Gather(t, now) }> }"
    )
    assert ranges(loop)["i"] == Range(0, 4)
    assert ranges(loop)["n"].low >= 1


def test_a_local_function_is_looked_into() -> None:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21, "own" : 1]> g (int64[1] i, float[6] t) => (float[1] y) '
        '{ y = own.Pick(t, i) } <domain: "own", opset_import: ["" : 21]> Pick (a, b) => (c) { c = Gather(a, b) }'
    )
    assert input_ranges(model)["i"] == Range(0, 5)


def test_integers_of_an_unknown_operator_are_kept_to_zero_and_one() -> None:
    found = ranges("(int64[2] i, float[2] x) => (float[2] y) { y = strange.Op(i, x) }", ', "strange" : 1')
    assert found == {"i": Range(0, 1)}


def test_the_value_that_an_input_is_compared_with_is_a_good_choice() -> None:
    found = ranges("(int64 mode) => (bool y) { k = Constant<value_int = 16000>()  y = Equal(mode, k) }")
    assert found["mode"].choices == (16000.0,)
