"""Values that a graph fixes before it runs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from mosaic_onnx.loading.ranges.known_values import MAX_ELEMENT_COUNT, KnownValues


def known(nodes: str, shapes: dict[str, tuple[int, ...]] | None = None) -> KnownValues:
    graph = parser.parse_graph(f"g (float[2, 3] x) => (float[1] y) <int64[2] w = {{4, 5}}> {{ {nodes} }}")
    return KnownValues(graph, shapes if shapes is not None else {"x": (2, 3)}, 21)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("v = Identity(w)", [4, 5]),
        ("v = Shape(x)", [2, 3]),
        ("s = Shape(x)  v = Mul(s, w)", [8, 15]),
        ("k = Constant<value_ints = [1]>()  s = Shape(x)  v = Gather(s, k)", [3]),
        ("v = Concat<axis = 0>(w, w)", [4, 5, 4, 5]),
    ],
)
def test_small_integers_are_computed(nodes: str, expected: list[int]) -> None:
    value = known(nodes).get("v")
    assert value is not None
    assert value.tolist() == expected


@pytest.mark.parametrize(
    "nodes", ["v = Relu(x)", "s = Shape(q)  v = Mul(s, w)", "v = strange.Op(w)", "v = Add(w, v)", "k = Relu(x)"]
)
def test_what_only_a_run_shows_is_unknown(nodes: str) -> None:
    assert known(nodes).get("v") is None


def test_a_large_or_external_tensor_is_not_read() -> None:
    graph = parser.parse_graph("g (float[1] x) => (float[1] y) { y = Relu(x) }")
    graph.initializer.append(numpy_helper.from_array(np.zeros(MAX_ELEMENT_COUNT + 1, np.int64), "large"))
    outside = TensorProto(name="outside", data_type=TensorProto.INT64, dims=[1], data_location=TensorProto.EXTERNAL)
    graph.initializer.append(outside)
    assert KnownValues(graph, {}, 21).get("large") is None
    assert KnownValues(graph, {}, 21).get("outside") is None


def test_a_body_sees_the_values_around_it() -> None:
    inner = helper.make_graph([helper.make_node("Neg", ["w"], ["v"])], "body", [], [])
    value = KnownValues(inner, {}, 21, outer=known("y = Relu(x)")).get("v")
    assert value is not None
    assert value.tolist() == [-4, -5]
