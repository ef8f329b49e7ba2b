"""Facts of layers: multiply-accumulates by class, dense weights, buffered bytes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from mosaic_onnx.core.graph.layer_facts import known_shapes, node_facts, whole_model_facts

SMALL = """
<ir_version: 10, opset_import: ["" : 21]>
small (float[1, 4, 8, 8] x) => (float[1, 6] y)
{
    a = Conv <group = 4, pads = [1, 1, 1, 1]> (x, dw)
    b = Relu (a)
    c = Conv (b, pw)
    d = Flatten (c)
    y = Gemm <transB = 1> (d, fc)
}
"""


def small_model() -> onnx.ModelProto:
    model = parser.parse_model(SMALL)
    for name, shape in {"dw": (4, 1, 3, 3), "pw": (6, 4, 1, 1), "fc": (6, 384)}.items():
        weight = numpy_helper.from_array(np.zeros(shape, np.float32), name)
        model.graph.initializer.append(weight)
    return model


def shapes_of_small() -> dict[str, tuple[int, ...]]:
    return {
        "x": (1, 4, 8, 8),
        "dw": (4, 1, 3, 3),
        "pw": (6, 4, 1, 1),
        "fc": (6, 384),
        "a": (1, 4, 8, 8),
        "b": (1, 4, 8, 8),
        "c": (1, 6, 8, 8),
        "d": (1, 384),
        "y": (1, 6),
    }


def node(text: str) -> onnx.NodeProto:
    return parser.parse_node(text)


def test_a_depthwise_convolution_is_counted_sparse_and_dense() -> None:
    facts = node_facts(node("a = Conv <group = 4, pads = [1, 1, 1, 1]> (x, dw)"), shapes_of_small())
    assert facts.macs == {"depthwise3": 4 * 64 * 9}
    assert facts.dense_macs == {"depthwise3": 4 * 4 * 64 * 9}
    assert facts.extra_dense_weights == 4 * 4 * 9 - 4 * 9


def test_a_pointwise_convolution_is_its_own_class() -> None:
    assert node_facts(node("c = Conv (b, pw)"), shapes_of_small()).macs == {"conv1x1": 6 * 64 * 4}


def test_a_matrix_product_with_a_flat_weight_is_fully_connected() -> None:
    assert node_facts(node("y = Gemm <transB = 1> (d, fc)"), shapes_of_small()).macs == {"fc": 6 * 384}
    assert node_facts(node("y = MatMul (d, w)"), {"d": (1, 384), "w": (384, 6), "y": (1, 6)}).macs == {"fc": 6 * 384}


def test_attention_products_are_no_weights() -> None:
    shapes = {"q": (2, 5, 8), "k": (2, 8, 5), "s": (2, 5, 5)}
    assert node_facts(node("s = MatMul (q, k)"), shapes).macs == {"other": 2 * 5 * 5 * 8}


def test_packed_weights_are_counted_by_their_attributes() -> None:
    packed = node("y = com.microsoft.MatMulNBits <K = 8, N = 6, bits = 4> (x, w, s)")
    assert node_facts(packed, {"y": (2, 6)}).macs == {"fc": 2 * 6 * 8}


def test_facts_of_layers_come_in_the_graphs_order() -> None:
    from mosaic_onnx.reproduce.workloads import layered

    one = layered("squeezenet")
    assert [facts.name for facts in one.facts] == [layer.name for layer in one.graph.layers]
    assert sum(facts.parameter_count for facts in one.facts) == 1_248_937
    fire = one.facts[1]
    assert fire.kernel_count == 4
    assert fire.parameter_bytes == 4 * (96 * 16 + 16 + 16 * 64 + 64 + 16 * 64 * 9 + 64)
    assert fire.input_bytes == 4 * 96 * 54 * 54
    assert fire.output_bytes == 4 * 128 * 54 * 54


def test_an_lstm_is_counted_over_its_steps() -> None:
    shapes = {"x": (7, 2, 3), "w": (1, 16, 3), "r": (1, 16, 4)}
    assert node_facts(node("y = LSTM <hidden_size = 4> (x, w, r)"), shapes).macs == {"other": 7 * 2 * 16 * (3 + 4)}


@pytest.mark.parametrize("op_type", ["Relu", "Flatten", "Clip"])
def test_what_fuses_or_moves_nothing_is_no_kernel_and_keeps_no_buffer(op_type: str) -> None:
    facts = node_facts(onnx.helper.make_node(op_type, ["x"], ["b"]), shapes_of_small())
    assert not facts.is_kernel
    assert facts.buffered_bytes == 0


def test_an_unknown_shape_counts_as_nothing() -> None:
    facts = node_facts(node("c = Conv (b, pw)"), {"b": (1, 4, 8, 8)})
    assert facts.macs == {}
    assert facts.buffered_bytes == 0


def test_a_symbolic_dimension_is_not_a_known_shape() -> None:
    model = parser.parse_model(SMALL.replace("float[1, 4, 8, 8] x", "float[N, 4, 8, 8] x"))
    assert "x" not in known_shapes(model.graph)


def test_a_whole_model_sums_up_its_nodes() -> None:
    facts = whole_model_facts(small_model())
    assert facts.macs == {"depthwise3": 2304, "conv1x1": 1536, "fc": 2304}
    assert facts.parameter_bytes == 4 * (36 + 24 + 2304)
    assert facts.dense_parameter_count == 36 * 4 + 24 + 2304
    assert facts.kernel_count == 3
    assert facts.buffered_bytes == 4 * (256 + 384 + 6)
    assert (facts.input_bytes, facts.output_bytes) == (1024, 24)
