"""Facts of graphs: keys, order, captures, renaming."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper, parser

from mosaic_onnx.core.graph.graphs import (
    free_names,
    is_orderly,
    node_keys,
    parameter_nodes,
    put_in_order,
    reads,
    renamed_node,
    sort_nodes,
    superseded_constants,
)
from mosaic_onnx.core.graph.topological import order_by_sources

HEADER = '<ir_version: 10, opset_import: ["" : 21]> '
UNSORTED = HEADER + "g (float[2] x) => (float[2] y) { y = Relu(b)  b = Abs(a)  a = Neg(x) }"
BRANCHES = HEADER + (
    "g (bool c, float[2] x) => (float[2] y) { h = Relu(x) y = If(c) <then_branch = t () => (float[2] a) "
    "{ a = Add(h, x) }, else_branch = e () => (float[2] b) { k = Neg(h) b = Abs(k) }> }"
)


def test_a_node_is_called_by_its_name_where_that_is_its_own() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "one"),
        helper.make_node("Relu", ["a"], ["b"], "twice"),
        helper.make_node("Relu", ["b"], ["c"], "twice"),
        helper.make_node("Split", ["c"], ["", "d"]),
    ]
    assert node_keys(helper.make_graph(nodes, "g", [], [])) == ["one", "%b", "%c", "%d"]


def test_a_key_never_stands_for_two_nodes() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"], "%b"), helper.make_node("Relu", ["a"], ["b"])]
    nodes.append(helper.make_node("Sink", ["b"], []))
    assert node_keys(helper.make_graph(nodes, "g", [], [])) == ["%b", "%%b", "%#2"]


def test_sorting_keeps_an_order_that_is_right() -> None:
    order = sort_nodes(parser.parse_model(BRANCHES).graph.node)
    assert order.is_identity


def test_a_reversed_graph_is_sorted_and_then_orderly() -> None:
    model = parser.parse_model(UNSORTED)
    assert not is_orderly(model)
    put_in_order(model)
    assert [node.op_type for node in model.graph.node] == ["Neg", "Abs", "Relu"]
    assert is_orderly(model)


def test_putting_in_order_twice_changes_nothing_more() -> None:
    model = parser.parse_model(UNSORTED)
    put_in_order(model)
    once = model.SerializeToString()
    put_in_order(model)
    assert model.SerializeToString() == once


def test_bodies_are_sorted_too() -> None:
    model = parser.parse_model(BRANCHES)
    branch = model.graph.node[1].attribute[1].g
    first, second = (onnx.NodeProto.FromString(node.SerializeToString()) for node in branch.node)
    del branch.node[:]
    branch.node.extend([second, first])
    put_in_order(model)
    assert [node.op_type for node in model.graph.node[1].attribute[1].g.node] == ["Neg", "Abs"]


def test_a_cycle_is_told_by_its_values() -> None:
    model = parser.parse_model(HEADER + "g (float[2] x) => (float[2] y) { a = Add(x, b)  b = Relu(a)  y = Relu(b) }")
    assert set(sort_nodes(model.graph.node).cycle) == {"a", "b"}


def test_of_two_constants_for_one_value_the_last_counts() -> None:
    model = parser.parse_model(HEADER + "g (float x) => (float y) { c = Constant<value_float = 1.0>()  y = Add(x, c) }")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value_float=2.0))
    assert superseded_constants(model.graph.node) == {0}
    put_in_order(model)
    assert [list(node.output) for node in model.graph.node] == [["c#superseded"], ["c"], ["y"]]
    assert model.graph.node[1].attribute[0].f == 2.0


def test_a_branch_captures_what_it_does_not_make() -> None:
    node = parser.parse_model(BRANCHES).graph.node[1]
    assert list(reads(node)) == ["c", "h", "x"]
    assert list(free_names(node.attribute[1].g)) == ["h"]


def test_a_constant_that_is_an_output_is_no_parameter() -> None:
    model = parser.parse_model(
        HEADER + "g (float x) => (float y, float c) { c = Constant<value_float = 1.0>() "
        "d = Constant<value_float = 2.0>() y = Add(x, d) }"
    )
    assert parameter_nodes(model.graph) == {1}


def test_renaming_reaches_captures_and_leaves_what_a_body_defines() -> None:
    node = parser.parse_model(BRANCHES).graph.node[1]
    copy = renamed_node(node, {"h": "other", "k": "wrong", "y": "made"})
    assert list(reads(copy)) == ["c", "other", "x"]
    assert [inner.output[0] for inner in copy.attribute[1].g.node] == ["k", "b"]
    assert list(copy.output) == ["made"]
    assert list(reads(node)) == ["c", "h", "x"]


@pytest.mark.parametrize("count", [1, 50, 50_000])
def test_sorting_takes_long_chains(count: int) -> None:
    assert order_by_sources([{index + 1} if index < count - 1 else set() for index in range(count)]).positions == tuple(
        reversed(range(count))
    )
