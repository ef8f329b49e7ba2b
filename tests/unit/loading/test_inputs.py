from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, parser

from mosaic_onnx.core.errors import InfeasibleError, ModelError
from mosaic_onnx.loading.inputs import check_inputs, make_inputs, read_inputs, refuse_other_than_tensors


def model_of(text: str, opset: int = 17) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {text}')
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def drawn(text: str, name: str, opset: int = 17) -> np.ndarray:
    return make_inputs(model_of(text, opset), seed=1)[name]


def test_the_same_seed_gives_the_same_values_and_another_seed_others() -> None:
    model = model_of("g (float[3, 4] x) => (float[3, 4] y) { y = Relu(x) }")
    first, again, other = (make_inputs(model, seed)["x"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_input_keeps_its_values_when_another_input_is_added() -> None:
    alone = make_inputs(model_of("g (float[3] x) => (float[3] y) { y = Relu(x) }"))
    beside = make_inputs(model_of("g (float[2] a, float[3] x) => (float[3] y) { y = Relu(x)\n z = Relu(a) }"))
    np.testing.assert_array_equal(alone["x"], beside["x"])


def test_indices_stay_within_the_table_that_they_index() -> None:
    ids = drawn("g (int64[1000] ids, float[5, 2] table) => (float[1000, 2] y) { y = Gather(table, ids) }", "ids")
    assert set(ids.tolist()) == set(range(5))


@pytest.mark.parametrize(
    ("steps", "least", "most"),
    [
        ("i = Cast<to = 7>(x)", 0, 9),
        ("f = Cast<to = 1>(x)\n i = Cast<to = 7>(f)", 0, 9),
        ("three = Constant<value_int = 3>()\n c = Cast<to = 7>(x)\n i = Add(c, three)", -3, 6),
        ("three = Constant<value_int = 3>()\n c = Cast<to = 7>(x)\n i = Mul(c, three)", 0, 3),
        ("nine = Constant<value_int = 9>()\n c = Cast<to = 7>(x)\n i = Sub(nine, c)", 0, 9),
        ("s = Constant<value_ints = [10, 10]>()\n c = Cast<to = 7>(x)\n i = Reshape(c, s)", 0, 9),
        ("a = Constant<value_ints = [0]>()\n c = Cast<to = 7>(x)\n d = Unsqueeze(c, a)\n i = Squeeze(d, a)", 0, 9),
        ("c = Cast<to = 7>(x)\n n = Neg(c)\n i = Neg(n)", 0, 9),
        ("c = Cast<to = 7>(x)\n i = Concat<axis = 0>(c, c)", 0, 9),
        ("c = Cast<to = 7>(x)\n i = Add(c, c)", 0, 4),
    ],
)
def test_the_range_of_an_index_goes_back_through(steps: str, least: int, most: int) -> None:
    values = drawn(f"g (int32[100] x, float[10] table) => (float[N] y) {{ {steps}\n y = Gather(table, i) }}", "x")
    assert (values.min(), values.max()) == (least, most)


def test_an_index_that_is_clipped_first_is_free() -> None:
    text = """g (int64[400] x, float[3] table) => (float[400] y) {
        low = Constant<value_int = 0>()
        high = Constant<value_int = 2>()
        i = Clip(x, low, high)
        y = Gather(table, i) }"""
    assert drawn(text, "x").min() < 0


def test_the_range_goes_through_the_body_of_a_loop_and_out_of_an_if() -> None:
    text = """g (int64[50] carried, int64[50] captured, bool c, float[4] table) => (float[50] y) {
        trip = Constant<value_int = 2>()
        go = Constant<value = bool {1}>()
        last = Loop(trip, go, carried) <body = step (int64 n, bool more, int64[50] at) => (bool still, int64[50] then) {
            still = Identity(more)
            picked = Gather(table, at)
            then = Identity(at) }>
        y = If(c) <then_branch = yes () => (float[50] one) { one = Gather(table, captured) },
                   else_branch = no () => (float[50] two) { two = Gather(table, last) }> }"""
    inputs = make_inputs(model_of(text))
    for name in ("carried", "captured"):
        assert (inputs[name].min(), inputs[name].max()) == (0, 3), name


def test_the_range_goes_through_a_local_function() -> None:
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "local": 1]>
        g (int64[100] ids, float[4] table) => (float[100] y) { y = local.Look(table, ids) }
        <domain: "local", opset_import: ["": 17]> Look (t, i) => (o) { o = Gather(t, i) }"""
    )
    ids = make_inputs(model)["ids"]
    assert (ids.min(), ids.max()) == (0, 3)


def test_an_integer_divisor_is_never_zero() -> None:
    divisor = drawn("g (int32[200] a, int32[200] b) => (int32[200] y) { y = Div(a, b) }", "b")
    assert divisor.min() >= 1


def test_a_mode_takes_a_value_that_the_graph_compares_it_with() -> None:
    text = """g (int64 rate, float[2] x) => (float[2] y) {
        known = Constant<value_int = 16000>()
        is_known = Equal(rate, known)
        y = If(is_known) <then_branch = yes () => (float[2] one) { one = Relu(x) },
                          else_branch = no () => (float[2] two) { two = Neg(x) }> }"""
    assert drawn(text, "rate") == 16000


def test_masks_are_ones_and_a_logarithm_gets_positive_numbers() -> None:
    text = """g (int64[9] attention_mask, float[99] x) => (float[99] y, int64[9] m) {
        m = Identity(attention_mask)
        y = Log(x) }"""
    inputs = make_inputs(model_of(text))
    assert inputs["attention_mask"].tolist() == [1] * 9
    assert inputs["x"].min() > 0


@pytest.mark.parametrize(
    "element_type",
    ["float", "float16", "double", "bfloat16", "float8e4m3fn", "int8", "uint16", "int4", "uint4", "bool", "complex64"],
)
def test_every_element_type_is_drawn_as_its_numpy_type(element_type: str) -> None:
    graph = f"g ({element_type}[64] x) => ({element_type}[64] y) {{ y = Identity(x) }}"
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> {graph}')
    x = make_inputs(model)["x"]
    expected = np.dtype(helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type))
    assert (x.dtype, x.shape) == (expected, (64,))
    assert len(set(x.astype(np.complex64).tolist())) > 1


def test_strings_are_drawn_as_python_strings() -> None:
    x = drawn("g (string[8] x) => (string[8] y) { y = Identity(x) }", "x")
    assert x.dtype == object
    assert all(isinstance(word, str) for word in x)


def test_an_input_with_a_default_is_not_asked_for() -> None:
    model = model_of("g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}> { y = Add(x, w) }")
    assert list(make_inputs(model)) == ["x"]


def test_an_input_of_free_shape_is_named_with_the_flag_that_fixes_it() -> None:
    with pytest.raises(ModelError, match=r"input x has no fixed shape") as raised:
        make_inputs(model_of("g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }"))
    assert "--input-shape x:" in raised.value.hint


def test_an_input_that_is_no_tensor_is_refused_by_name() -> None:
    value = helper.make_tensor_sequence_value_info("words", TensorProto.FLOAT, None)
    graph = helper.make_graph([], "g", [value], [])
    with pytest.raises(ModelError, match="input words is a sequence"):
        make_inputs(helper.make_model(graph))


# ---- files -----------------------------------------------------------------------------------------------------------

TWO = "g (float[2, 3] x, int64[4] i) => (float[2, 3] y) { y = Relu(x) }"


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_inputs_come_back_from_a_file_as_they_were_saved(tmp_path: Path) -> None:
    made = make_inputs(model_of(TWO))
    read = read_inputs(saved(tmp_path / "in.npz", **made), model_of(TWO))
    for name, array in made.items():
        np.testing.assert_array_equal(read[name], array)


def test_a_lone_array_is_the_input_of_a_model_with_one(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.ones((2, 3), np.float32))
    assert list(read_inputs(tmp_path / "in.npy", model_of("g (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }"))) == [
        "x"
    ]
    with pytest.raises(ModelError, match="holds one array, but the model has 2 inputs"):
        read_inputs(tmp_path / "in.npy", model_of(TWO))


def test_every_fault_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    path = saved(tmp_path / "in.npz", x=np.ones((2, 4)), stray=np.ones(1))
    with pytest.raises(ModelError) as raised:
        read_inputs(path, model_of(TWO))
    parts = ("i is missing", "stray is not an input", "x is float64, not float32", "x has shape [2, 4], not [2, 3]")
    for part in parts:
        assert part in raised.value.message
    assert raised.value.hint == "the model takes x float32 [2, 3], i int64 [4]"


def test_a_free_dimension_takes_any_size() -> None:
    model = model_of("g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }")
    assert check_inputs({"x": np.ones((7, 3), np.float32)}, model)["x"].shape == (7, 3)


def test_a_file_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ModelError, match="not a readable"):
        read_inputs(tmp_path / "in.npz", model_of(TWO))


@pytest.mark.parametrize("content", [b"", b"no array", b"PK\x03\x04 torn", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_a_file_that_is_no_array_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.npz").write_bytes(content)
    with pytest.raises(ModelError, match="not a readable"):
        read_inputs(tmp_path / "in.npz", model_of(TWO))


def test_a_damaged_member_of_an_archive_is_refused(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.savez(whole, x=np.arange(1000.0))
    torn = bytearray(whole.getvalue())
    torn[400] ^= 0xFF
    (tmp_path / "in.npz").write_bytes(bytes(torn))
    with pytest.raises(ModelError, match="not a readable"):
        read_inputs(tmp_path / "in.npz", model_of(TWO))


def test_an_archive_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.npz", "w") as archive:
        archive.writestr("x", "text")
    with pytest.raises(ModelError, match="member x is not an array"):
        read_inputs(tmp_path / "in.npz", model_of(TWO))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such inputs file: .*absent\.npz"):
        read_inputs(tmp_path / "absent.npz", model_of(TWO))


def test_bfloat16_comes_as_its_bit_patterns(tmp_path: Path) -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (bfloat16[3] x) => (bfloat16[3] y) { y = Identity(x) }'
    )
    values = np.array([1, -2, 0.5], ml_dtypes.bfloat16)
    read = read_inputs(saved(tmp_path / "in.npz", x=values.view(np.uint16)), model)["x"]
    assert read.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(read, values)


@pytest.mark.corpus
def test_made_inputs_are_of_the_catalogue_s_types_and_shapes(shared: Path) -> None:
    entries = json.loads((shared / "models" / "catalog.json").read_text())
    checked = 0
    for entry in entries:
        path = shared / "models" / f"{entry['name']}.onnx"
        if entry["role"] != "run" or not entry.get("run_inputs"):
            continue
        model = onnx.load(path, load_external_data=False)
        for value in model.graph.input:
            if value.name in entry["run_inputs"]:
                value.type.CopyFrom(
                    helper.make_tensor_type_proto(value.type.tensor_type.elem_type, entry["run_inputs"][value.name][1])
                )
        made = {name: [str(array.dtype), list(array.shape)] for name, array in make_inputs(model).items()}
        assert made == entry["run_inputs"], entry["name"]
        checked += 1
    assert checked > 50


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("g (seq(float[2]) s) => (float[2] y) { zero = Constant<value_int = 0>() y = SequenceAt(s, zero) }", "input s"),
        ("g (float[2] x) => (seq(float[2]) y) { y = SequenceConstruct(x) }", "output y is a sequence"),
        ("g (optional(float[2]) o) => (float[2] y) { y = OptionalGetElement(o) }", "input o is an optional value"),
    ],
)
def test_a_model_that_takes_or_returns_no_tensor_is_refused_with_a_word(text: str, words: str) -> None:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')
    with pytest.raises(InfeasibleError, match=words) as caught:
        refuse_other_than_tensors(model)
    assert caught.value.exit_code == 3
