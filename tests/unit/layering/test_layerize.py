"""Layerize: what belongs together is one layer, and layers stay convex."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper

from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.layering.layerize import Granularity, layerize
from tests.unit.small_models import from_text, normalised

VALUES = (
    "float[4, 4, 1, 1] w = {"
    + ", ".join(["1"] * 16)
    + "}, "
    + ", ".join(f"float[4] {name} = {{1, 1, 1, 1}}" for name in "sbmv")
)


def layers_of(
    body: str, folder: Path, granularity: Granularity = "fused", outputs: str = "float[1, 4, 2, 2] y"
) -> LayerGraph:
    text = f"g (float[1, 4, 2, 2] x) => ({outputs}) <{VALUES}> {{ {body} }}"
    return layerize(normalised(text, folder), granularity)


def operators(graph: LayerGraph) -> list[str]:
    return ["+".join(layer.op_types) for layer in graph.layers]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("c = Conv(x, w)  n = BatchNormalization(c, s, b, m, v)  y = Relu(n)", ["Conv+BatchNormalization+Relu"]),
        ("c = Conv(x, w)  g = Sigmoid(c)  y = Mul(c, g)", ["Conv+Sigmoid+Mul"]),
        ("c = Conv(x, w)  n = Conv(c, w)  r = Add(n, x)  y = Relu(r)", ["Conv", "Conv+Add+Relu"]),
        ("c = Conv(x, w)  d = Conv(x, w)  r = Add(c, d)  y = Relu(r)", ["Conv", "Conv+Add+Relu"]),
        ("c = Conv(x, w)  r = Relu(c)  e = Exp(c)  y = Add(r, e)", ["Conv", "Relu+Exp+Add"]),
        ("c = Conv(x, w)  r = Relu(c)  y = Sigmoid(r)", ["Conv+Relu", "Sigmoid"]),
        (
            "c = Conv(x, w)  a = Constant<value_ints = [1, 2]>()  k = Unsqueeze(s, a)  u = Mul(c, k)"
            "  o = Unsqueeze(b, a)  t = Add(u, o)  y = Relu(t)",
            ["Conv+Unsqueeze+Mul+Unsqueeze+Add+Relu"],
        ),
        ("p = MaxPool<kernel_shape = [1, 1]>(x)  y = Relu(p)", ["MaxPool", "Relu"]),
    ],
)
def test_a_convolution_takes_along_what_runtimes_fuse_with_it(body: str, expected: list[str], tmp_path: Path) -> None:
    assert sorted(operators(layers_of(body, tmp_path))) == sorted(expected)


def test_an_output_in_the_middle_ends_the_layer(tmp_path: Path) -> None:
    graph = layers_of("c = Conv(x, w)  y = Relu(c)", tmp_path, outputs="float[1, 4, 2, 2] c, float[1, 4, 2, 2] y")
    assert operators(graph) == ["Conv", "Relu"]


def test_a_layer_norm_written_out_is_one_layer(tmp_path: Path) -> None:
    body = (
        "a = ReduceMean<axes = [1]>(x)  d = Sub(x, a)  two = Constant<value_float = 2.0>()  q = Pow(d, two) "
        "e = ReduceMean(q)  t = Constant<value_float = 0.1>()  f = Add(e, t)  r = Sqrt(f)  n = Div(d, r) "
        "k = Mul(n, scale)  scale = Constant<value_float = 3.0>()  y = Add(k, scale)"
    )
    body = body.replace("ReduceMean<axes = [1]>(x)", "ReduceMean(x)")
    assert operators(layers_of(body, tmp_path)) == ["ReduceMean+Sub+Pow+ReduceMean+Add+Sqrt+Div+Mul+Add"]


def test_a_gelu_written_out_is_a_layer_apart_from_the_product(tmp_path: Path) -> None:
    body = (
        "c = Conv(x, w)  k = Constant<value_float = 1.4>()  d = Div(c, k)  e = Erf(d) "
        "o = Constant<value_float = 1.0>()  f = Add(e, o)  g = Mul(c, f)  h = Constant<value_float = 0.5>() "
        "y = Mul(g, h)"
    )
    assert operators(layers_of(body, tmp_path)) == ["Conv", "Div+Erf+Add+Mul+Mul"]


def test_a_softmax_written_out_is_one_layer(tmp_path: Path) -> None:
    body = "a = ReduceMax(x)  d = Sub(x, a)  e = Exp(d)  t = ReduceSum(e)  y = Div(e, t)"
    assert operators(layers_of(body, tmp_path)) == ["ReduceMax+Sub+Exp+ReduceSum+Div"]


QUANTISED = "float q = {0.1}, uint8 z = {128}, uint8[4, 4, 1, 1] wq = {" + ", ".join(["1"] * 16) + "}"


def test_quantisation_goes_with_its_operator_and_a_shared_one_with_its_first_reader(tmp_path: Path) -> None:
    text = (
        f"g (float[1, 4, 2, 2] x) => (float[1, 4, 2, 2] y) <{QUANTISED}> {{ a = QuantizeLinear(x, q, z) "
        "b = DequantizeLinear(a, q, z)  u = DequantizeLinear(wq, q, z)  c = Conv(b, u)  d = QuantizeLinear(c, q, z) "
        "e = DequantizeLinear(d, q, z)  f = Add(e, b)  h = QuantizeLinear(f, q, z)  y = DequantizeLinear(h, q, z) }"
    )
    graph = layerize(normalised(text, tmp_path))
    assert [sorted(layer.op_types) for layer in graph.layers] == [
        sorted(["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv", "QuantizeLinear"]),
        sorted(["DequantizeLinear", "Add", "QuantizeLinear"]),
        ["DequantizeLinear"],
    ]
    assert graph.layers[0].outputs == ("b", "d")


def test_dynamic_quantisation_is_one_layer(tmp_path: Path) -> None:
    text = (
        "g (float[2, 4] x) => (float[2, 4] y) <uint8[4, 4] w = {" + ", ".join(["1"] * 16) + "}, float k = {0.1}> "
        "{ a, s, z = DynamicQuantizeLinear(x)  p = MatMulInteger(a, w, z)  c = Cast<to = 1>(p)  m = Mul(s, k) "
        "y = Mul(c, m) }"
    )
    assert len(layerize(normalised(text, tmp_path)).layers) == 1


def test_a_branch_is_one_layer_and_its_captures_are_its_inputs(tmp_path: Path) -> None:
    text = (
        "g (bool c, float[2] x) => (float[2] y) <float[2] k = {1, 2}> { h = Relu(x)  i = Conv1(x)  y = If(c) "
        "<then_branch = t () => (float[2] a) { a = Add(h, k) }, else_branch = e () => (float[2] b) { b = Neg(x) }> }"
    ).replace("i = Conv1(x)  ", "")
    graph = layerize(normalised(text, tmp_path))
    assert operators(graph) == ["Relu", "If"]
    assert graph.layers[1].inputs == ("c", "h", "x")
    assert graph.layers[1].parameters == ("k",)


def test_a_sequence_never_crosses_and_takes_along_what_lies_between(tmp_path: Path) -> None:
    text = (
        "g (float[2] x) => (float[2] y, float[2] w) { s = SequenceConstruct(x, x)  z = Constant<value_int = 0>() "
        "a = SequenceAt(s, z)  n = Cast<to = 7>(a)  m = ReduceMax<keepdims = 0>(n)  i = Sub(m, m) "
        "y = SequenceAt(s, i)  w = Relu(y) }"
    )
    for granularity in ("node", "fused"):
        graph = layerize(normalised(text, tmp_path), granularity)  # type: ignore[arg-type]
        together = next(layer for layer in graph.layers if "SequenceConstruct" in layer.op_types)
        assert together.op_types == ("SequenceConstruct", "SequenceAt", "Cast", "ReduceMax", "Sub", "SequenceAt")


def test_shape_arithmetic_is_apart_from_what_works_on_data(tmp_path: Path) -> None:
    body = (
        "c = Conv(x, w)  t = Shape(c)  i = Constant<value_int = 0>()  f = Gather(t, i)  "
        "o = Constant<value_ints = [0]>()  u = Unsqueeze(f, o)  r = Constant<value_ints = [-1]>() "
        "k = Concat<axis = 0>(u, r)  l = Reshape(c, k)  y = Relu(l)"
    )
    text = f"g (float[n, 4, 2, 2] x) => (float[a, b] y) <{VALUES}> {{ {body} }}"
    graph = layerize(normalised(text, tmp_path))
    assert operators(graph) == ["Conv", "Shape+Gather+Unsqueeze+Concat", "Reshape", "Relu"]


def test_constants_and_work_on_weights_are_no_layers_of_their_own(tmp_path: Path) -> None:
    graph = layers_of("t = Transpose<perm = [1, 0, 2, 3]>(w)  y = Conv(x, t)", tmp_path)
    assert operators(graph) == ["Transpose+Conv"]
    assert graph.layers[0].parameters == ("w",)
    assert graph.layers[0].parameter_bytes == 64


def test_a_constant_that_is_an_output_is_a_layer(tmp_path: Path) -> None:
    graph = layers_of(
        "c = Constant<value_float = 1.0>()  y = Mul(x, c)", tmp_path, outputs="float[1, 4, 2, 2] y, float c"
    )
    assert operators(graph) == ["Constant", "Mul"]
    assert graph.layers[1].inputs == ("x", "c")


def test_at_node_granularity_every_node_is_a_layer(tmp_path: Path) -> None:
    graph = layers_of("c = Conv(x, w)  y = Relu(c)", tmp_path, "node")
    assert [(layer.name, layer.nodes) for layer in graph.layers] == [("%c", ("%c",)), ("%y", ("%y",))]


def test_blocks_are_what_nodes_are_marked_with(tmp_path: Path) -> None:
    model = from_text("g (float[2] x) => (float[2] y) { a = Relu(x)  b = Abs(a)  c = Neg(b)  y = Exp(c) }")
    model.graph.node[0].metadata_props.add(key="mosaic.layer", value="first")
    model.graph.node[1].metadata_props.add(key="mosaic.layer", value="first")
    model.graph.node[2].name = "L02/neg"
    model.graph.node[3].name = "L02/exp"
    graph = layerize(normalised(model, tmp_path), "block")
    assert operators(graph) == ["Relu+Abs", "Neg+Exp"]
    assert graph.layers[1].name == "L02/neg"


def test_what_is_not_marked_stays_single_and_the_model_is_untouched(tmp_path: Path) -> None:
    model = normalised(from_text("g (float[2] x) => (float[2] y) { a = Relu(x)  y = Abs(a) }"), tmp_path)
    before = model.model.SerializeToString()
    assert operators(layerize(model, "block")) == ["Relu", "Abs"]
    assert layerize(model) == layerize(model)
    assert model.model.SerializeToString() == before


def test_layers_hold_their_tensors_sizes(tmp_path: Path) -> None:
    graph = layers_of("c = Conv(x, w)  y = Relu(c)", tmp_path)
    layer = graph.layers[0]
    assert (layer.inputs, layer.outputs, layer.parameter_bytes, layer.activation_bytes) == (("x",), ("y",), 64, 128)
    assert graph.tensors["x"].bytes == 64
    assert (graph.inputs, graph.outputs, dict(graph.producer)) == (("x",), ("y",), {"y": 0})


def test_thousands_of_nodes_take_no_search(tmp_path: Path) -> None:
    import time

    from mosaic_onnx.loading.normalise import Normalised

    nodes, last = [], "x"
    for number in range(6_000):
        for kind in ("MatMul", "Add"):
            made = f"{kind}{number}"
            nodes.append(helper.make_node(kind, [last, "w"], [made], made))
            last = made
        gate, product, total = f"g{number}", f"p{number}", f"t{number}"
        nodes.append(helper.make_node("Sigmoid", [last], [gate], gate))
        nodes.append(helper.make_node("Mul", [last, gate], [product], product))
        nodes.append(helper.make_node("Add", [product, "x"], [total], total))
        last = total
    value = helper.make_tensor_value_info
    model = helper.make_model(helper.make_graph(nodes, "g", [value("x", 1, [4, 4])], [value(last, 1, [4, 4])]))
    model.graph.initializer.add(name="w", data_type=1, dims=[4, 4], raw_data=bytes(64))
    started_s = time.process_time()
    graph = layerize(Normalised(model, str(tmp_path), {}))
    assert time.process_time() - started_s < 20  # quadratic work would take minutes
    assert len(graph.layers) == 12_000
