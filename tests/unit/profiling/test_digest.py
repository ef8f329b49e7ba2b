from __future__ import annotations

import numpy as np
import onnx
import pytest

from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.profiling.digest import Digest, slice_digest
from tests.unit.profiling.helpers import digests_of, normalised, normalised_model

HEAD = '<ir_version: 10, opset_import: ["": 21, "local": 1]>'


def digest_of(body: str, head: str = "(float[1,4,8,8] x) => (float[1,4,8,8] y)", weights: str = "") -> Digest:
    """The digest of the last layer of a graph."""
    return digests_of(normalised(f"{HEAD} g {head} {weights} {{ {body} }}"))[-1]


def test_names_do_not_matter() -> None:
    assert digest_of("[a] y = Relu(x)") == digest_of("[b] z = Relu(q)", "(float[1,4,8,8] q) => (float[1,4,8,8] z)")


@pytest.mark.parametrize(
    "other",
    [
        "y = Neg(x)",
        "y = LeakyRelu<alpha = 0.5>(x)",
        "y = Relu(x)",
    ],
)
def test_operators_and_attributes_matter(other: str) -> None:
    assert digest_of("y = LeakyRelu<alpha = 0.1>(x)") != digest_of(other)


def test_the_order_of_attributes_does_not_matter() -> None:
    conv = "(float[1,4,8,8] x, float[4,4,3,3] w) => (float[1,4,8,8] y)"
    one = digest_of("y = Conv<strides = [1,1], pads = [1,1,1,1]>(x, w)", conv)
    assert one == digest_of("y = Conv<pads = [1,1,1,1], strides = [1,1]>(x, w)", conv)


@pytest.mark.parametrize(
    "head", ["(float[1,4,8,9] x) => (float[1,4,8,9] y)", "(float16[1,4,8,8] x) => (float16[1,4,8,8] y)"]
)
def test_shapes_and_types_of_inputs_matter(head: str) -> None:
    assert digest_of("y = Relu(x)") != digest_of("y = Relu(x)", head)


def test_wiring_matters() -> None:
    head = "(float[4,4] a, float[4,4] b) => (float[4,4] y)"
    assert digest_of("y = Sub(a, b)", head) == digest_of("y = Sub(b, a)", head)
    assert digest_of("y = Sub(a, b)", head) != digest_of("y = Sub(a, a)", head)


def test_the_operator_set_matters() -> None:
    text = "g (float[4] x) => (float[4] y) { y = Relu(x) }"
    old, new = (normalised(f'<ir_version: 10, opset_import: ["": {version}]> {text}') for version in (14, 21))
    assert digests_of(old) != digests_of(new)


def conv(seed: int, channels: int = 4) -> Digest:
    model = onnx.parser.parse_model(f"{HEAD} g (float[1,4,8,8] x) => (float[1,C,6,6] y) {{ y = Conv(x, w) }}")
    values = np.random.default_rng(seed).standard_normal((channels, 4, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "w"))
    return digests_of(normalised_model(model))[0]


def test_values_of_dense_weights_do_not_matter_and_their_shapes_do() -> None:
    assert conv(1) == conv(2)
    assert conv(1) != conv(1, channels=8)


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("y = Tile(x, s)", ["<int64[4] s = {1,1,1,1}>", "<int64[4] s = {2,1,1,1}>"]),
        ("y = Pow(x, e)", ["<float e = {2.0}>", "<float e = {2.5}>"]),
        ("y = Where(c, x, x)", ["<bool[1] c = {1}>", "<bool[1] c = {0}>"]),
    ],
)
def test_values_that_steer_the_work_matter(body: str, weights: list[str]) -> None:
    assert digest_of(body, weights=weights[0]) != digest_of(body, weights=weights[1])


def test_quantisation_scales_do_not_matter() -> None:
    one, two = (f"<float s = {{{scale}}}, uint8 z = {{{zero}}}>" for scale, zero in (("0.1", 3), ("0.2", 7)))
    head = "(float[1,4,8,8] x) => (uint8[1,4,8,8] y)"
    assert digest_of("y = QuantizeLinear(x, s, z)", head, one) == digest_of("y = QuantizeLinear(x, s, z)", head, two)


IF = """(bool c, float[4] x) => (float[4] y)"""


def branching(then: str) -> Digest:
    branches = (
        f"then_branch = t () => (float[4] a) {{ a = {then} }}, else_branch = e () => (float[4] b) {{ b = Neg(x) }}"
    )
    return digest_of(f"y = If (c) <{branches}>", IF)


def test_bodies_matter_and_depend_on_values() -> None:
    assert branching("Relu(x)") != branching("Abs(x)")
    assert branching("Relu(x)").depends_on_values


def test_a_shape_that_only_the_run_shows_depends_on_values() -> None:
    head = "(float[4] x) => (int64[1,N] y)"
    assert digest_of("y = NonZero(x)", head).depends_on_values
    assert not digest_of("y = Relu(x)").depends_on_values


def test_the_body_of_a_called_function_matters() -> None:
    def calling(operator: str) -> Digest:
        text = f"""{HEAD} g (float[4] x) => (float[4] y) {{ y = local.f(x) }}
        <domain: "local", opset_import: ["": 21]> f (a) => (b) {{ b = {operator}(a) }}"""
        return digests_of(normalised(text))[0]

    assert calling("Relu") == calling("Relu")
    assert calling("Relu") != calling("Abs")


CHAIN = f"{HEAD} g (float[4] x) => (float[4] z) {{ a = Relu(x) b = Neg(a) c = Relu(b) d = Neg(c) z = Add(d, a) }}"


def test_equal_slices_have_equal_digests_and_what_leaves_them_matters() -> None:
    one = normalised(CHAIN)
    graph = layerize(one, "node")
    digests = digests_of(one, graph)

    def part(first: int, last: int, *outputs: str) -> Digest:
        return slice_digest(digests[first : last + 1], graph.layers[first : last + 1], outputs)

    assert part(0, 1, "b") == part(2, 3, "d")
    assert part(0, 1, "a", "b") != part(2, 3, "d")
    assert part(0, 1, "b") != part(1, 2, "c")
