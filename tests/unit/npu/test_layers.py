"""From ONNX and CSV to loop nests: sizes, fusion, quantised forms, refusals with reasons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnx.parser
import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.npu.hardware.file import load_hardware
from mosaic_onnx.npu.layers.csv_file import read_layers
from mosaic_onnx.npu.layers.model import layers_of_model, read_model
from mosaic_onnx.npu.layers.nest import LoopNest, ModelLayers, VectorWork
from mosaic_onnx.zoo import WORKLOADS, build_shapes

EYERISS = load_hardware("eyeriss")


def layers_of(body: str, inputs: str, outputs: str, opset: int = 17) -> ModelLayers:
    """Layers of a model written as text."""
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : {opset}]> test ({inputs}) => ({outputs}) {{ {body} }}'
    )
    return layers_of_model(onnx.shape_inference.infer_shapes(model), EYERISS)


def only(found: ModelLayers) -> LoopNest:
    """The one layer of a model."""
    assert found.refused == ()
    (layer,) = found.layers
    assert isinstance(layer, LoopNest)
    return layer


def test_a_convolution_becomes_seven_loops() -> None:
    nest = only(
        layers_of(
            "y = Conv <strides = [2, 1], pads = [1, 2, 1, 2], dilations = [1, 2], group = 2> (x, w)",
            "float[3, 8, 15, 20] x, float[6, 4, 3, 3] w",
            "float[3, 6, 8, 20] y",
        )
    )
    assert (nest.N, nest.K, nest.C, nest.P, nest.Q, nest.R, nest.S) == (3, 3, 4, 8, 20, 3, 3)
    assert (nest.H, nest.W, nest.stride, nest.dilation, nest.padding, nest.repeats) == (
        15,
        20,
        (2, 1),
        (1, 2),
        (1, 2),
        2,
    )
    assert nest.macs == 3 * 6 * 8 * 20 * 4 * 9


def test_a_group_a_channel_is_depthwise() -> None:
    nest = only(
        layers_of(
            "y = Conv <pads = [1,1,1,1], group = 8> (x, w)", "float[1,8,6,6] x, float[8,1,3,3] w", "float[1,8,6,6] y"
        )
    )
    assert (nest.kind, nest.K, nest.C, nest.repeats) == ("depthwise", 8, 1, 1)
    assert nest.input_elements == 8 * 36
    assert nest.densified().macs == 8 * nest.macs


def test_a_transposed_convolution_is_stride_squared_small_ones() -> None:
    nest = only(
        layers_of(
            "y = ConvTranspose <strides = [2, 2]> (x, w)",
            "float[1, 4, 5, 5] x, float[4, 6, 2, 2] w",
            "float[1, 6, 10, 10] y",
        )
    )
    assert nest.macs == 4 * 25 * 6 * 4
    assert nest.output_elements == 6 * 100
    assert nest.weight_elements == 4 * 6 * 4


def test_bias_activation_and_residual_fuse_behind_the_convolution() -> None:
    nest = only(fused_model())
    assert nest.fused == ("BatchNormalization", "Add", "Relu")
    assert nest.residual_elements == 4 * 36
    assert len(nest.nodes) == 4


def fused_model() -> ModelLayers:
    """Convolution, normalisation, residual, activation, with the parameters as initialisers."""
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 17]>
        test (float[1,4,6,6] x) => (float[1,4,6,6] y)
        <float[4,4,3,3] w = {0}, float[4] s = {1, 1, 1, 1}> {
            c = Conv <pads = [1,1,1,1]> (x, w)
            n = BatchNormalization (c, s, s, s, s)
            a = Add (n, x)
            y = Relu (a)
        }""".replace("float[4,4,3,3] w = {0}", "float[4,4,3,3] w = {" + ", ".join(["0"] * 144) + "}")
    )
    return layers_of_model(onnx.shape_inference.infer_shapes(model), EYERISS)


def test_a_value_with_two_readers_does_not_fuse() -> None:
    found = layers_of(
        "c = Conv (x, w)\n y = Relu (c)\n z = Sigmoid (c)",
        "float[1,4,6,6] x, float[4,4,1,1] w",
        "float[1,4,6,6] y, float[1,4,6,6] z",
    )
    assert [type(layer).__name__ for layer in found.layers] == ["LoopNest", "VectorWork", "VectorWork"]


@pytest.mark.parametrize(
    ("body", "inputs", "outputs", "expected"),
    [
        ("y = Gemm <transB = 1> (x, w)", "float[5, 8] x, float[6, 8] w", "float[5, 6] y", (5, 8, 6, 1)),
        ("y = Gemm <transA = 1> (x, w)", "float[8, 5] x, float[8, 6] w", "float[5, 6] y", (5, 8, 6, 1)),
        ("y = MatMul (x, w)", "float[2, 5, 8] x, float[8, 6] w", "float[2, 5, 6] y", (10, 8, 6, 1)),
        ("y = MatMul (x, w)", "float[2, 3, 5, 8] x, float[2, 3, 8, 6] w", "float[2, 3, 5, 6] y", (5, 8, 6, 6)),
        ("y = MatMul (x, w)", "float[8] x, float[8, 6] w", "float[6] y", (1, 8, 6, 1)),
    ],
)
def test_matrix_products_are_rows_depth_columns_and_batch(body, inputs, outputs, expected) -> None:
    nest = only(layers_of(body, inputs, outputs))
    assert (nest.Q, nest.C, nest.K, nest.repeats) == expected


def test_quantised_forms_are_the_same_nests() -> None:
    linear = only(
        layers_of(
            "y = QLinearConv (x, s, z, w, s, z, s, z)",
            "uint8[1,4,6,6] x, float s, uint8 z, uint8[8,4,3,3] w",
            "uint8[1,8,4,4] y",
        )
    )
    pair = layers_of(
        """a = DequantizeLinear (x, s, z)
           b = DequantizeLinear (w, s, z)
           c = Conv (a, b)
           d = Relu (c)
           y = QuantizeLinear (d, s, z)""",
        "uint8[1,4,6,6] x, float s, uint8 z, uint8[8,4,3,3] w",
        "uint8[1,8,4,4] y",
    )
    assert linear.key() == only(pair).key()
    assert only(pair).fused == ("Relu", "QuantizeLinear")


def test_pooling_softmax_and_normalisation_run_on_the_vector_unit() -> None:
    found = layers_of(
        "p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)\n y = Softmax (p)",
        "float[1,4,6,6] x",
        "float[1,4,3,3] y",
    )
    pool, softmax = found.layers
    assert isinstance(pool, VectorWork)
    assert (pool.operations, pool.input_elements, pool.output_elements) == (36 * 4, 144, 36)
    assert isinstance(softmax, VectorWork)
    assert softmax.operations > 36


def test_what_cannot_run_is_refused_with_the_reason() -> None:
    kirin = load_hardware("kirin970")
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 17]>
        test (float[1,4,6,6] x, int64[8] p) => (float[1,4,8,8] y, int64[4] s, float[1,4,6,6] t)
        { y = Pad (x, p)
          s = Shape (x)
          t = CumSum (x, s) }"""
    )
    refused = {each.operator: each.reason for each in layers_of_model(model, kirin).refused}
    assert "padding" in refused["Pad"]
    assert "no form on the array" in refused["CumSum"]
    assert "no form" in refused["Shape"]


def test_unknown_shapes_and_volumes_are_refused() -> None:
    found = layers_of("y = Conv (x, w)", "float[1,4,6,6,6] x, float[8,4,1,1,1] w", "float[1,8,6,6,6] y")
    assert "over 3 axes" in found.refused[0].reason
    free = layers_of("y = MatMul (x, w)", "float[N, 8] x, float[8, 6] w", "float[N, 6] y")
    assert "not known before the model runs" in free.refused[0].reason


@pytest.mark.parametrize("name", ["mobilenet_v2_1.0", "squeezenet", "vgg16"])
def test_the_zoos_multiply_accumulates_are_all_there(name: str) -> None:
    from tests.unit.zoo.test_zoo import multiply_accumulates

    model = build_shapes(name)
    assert sum(layer.macs for layer in layers_of_model(model, EYERISS).layers) == multiply_accumulates(model)
    assert name in WORKLOADS


def test_a_real_model_gives_layers_or_reasons_for_every_node(shared: Path) -> None:
    for name in ("mlperftiny_resnet8", "squeezenet_fp16", "shufflenet_v2_int8", "bert_toy"):
        found = read_model(shared / "models" / f"{name}.onnx", EYERISS)
        assert sum(layer.macs for layer in found.layers) > 0, name
        assert all(each.reason for each in found.refused)


def test_layers_read_from_a_list(tmp_path: Path) -> None:
    path = tmp_path / "layers.csv"
    path.write_text(
        "name,kind,C,H,W,K,R,S,stride,padding,groups,batch\n"
        "a,conv,3,224,224,64,7,7,2,3,1,1\n"
        "b,depthwise,32,14,14,32,3,3,2,same,1,2\n"
        "c,gemm,512,1,10,1000,1,1,1,valid,1,1\n"
        "d,conv,8,9,9,4,3,3,1,valid,2,1\n"
    )
    a, b, c, d = read_layers(path).layers
    assert isinstance(a, LoopNest)
    assert (a.P, a.Q, a.padding) == (112, 112, (3, 3))
    assert isinstance(b, LoopNest)
    assert (b.kind, b.N, b.P, b.K, b.padding) == ("depthwise", 2, 7, 32, (0, 0))
    assert isinstance(c, LoopNest)
    assert (c.Q, c.C, c.K) == (10, 512, 1000)
    assert isinstance(d, LoopNest)
    assert (d.C, d.K, d.repeats, d.P) == (4, 2, 2, 7)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("a,pool,3,8,8,4,3,3,1,valid,1,1", "line 2: kind: 'pool'"),
        ("a,conv,3,8,8,4,3,3,0,valid,1,1", "line 2: stride: 0"),
        ("a,conv,3,8,8,4,9,9,1,valid,1,1", "larger than the padded input"),
        ("a,conv,3,8,8,4,3,3,1,half,1,1", "padding: 'half'"),
        ("a,conv,3,8,8,4,3,3,1,valid,2,1", "groups: 2 does not divide"),
        ("a,conv,-3,8,8,4,3,3,1,valid,1,1", "C: -3 is out of range"),
        ("a,conv,x,8,8,4,3,3,1,valid,1,1", "C: 'x' is not a whole number"),
    ],
)
def test_a_wrong_row_is_named_by_line_and_column(tmp_path: Path, row: str, complaint: str) -> None:
    path = tmp_path / "layers.csv"
    path.write_text(f"name,kind,C,H,W,K,R,S,stride,padding,groups,batch\n{row}\n")
    with pytest.raises(ModelError, match=complaint):
        read_layers(path)


def test_equal_layers_have_equal_keys_whatever_their_names() -> None:
    nest = only(layers_of("y = Conv (x, w)", "float[1,4,6,6] x, float[4,4,1,1] w", "float[1,4,6,6] y"))
    assert replace(nest, name="other", nodes=("x",), fused=("Relu",)).key() == nest.key()
    assert replace(nest, K=5).key() != nest.key()
