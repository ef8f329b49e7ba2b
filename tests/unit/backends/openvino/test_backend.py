from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, UsageError
from tests.unit.backends.helpers import slice_of, unary

pytest.importorskip("openvino", reason="openvino is not installed")
from mosaic_onnx.backends.openvino.backend import BACKEND
from mosaic_onnx.backends.openvino.claims import MOST_NESTED_IFS
from mosaic_onnx.backends.openvino.maps import too_many_maps

F32 = Device("openvino", backend="openvino", options={"threads": 1})
LARGE = np.iinfo(np.int64).max


def load(text: str) -> object:
    return BACKEND.load(slice_of(text), F32)


def refusal(text: str) -> str:
    with pytest.raises(BackendError) as caught:
        load(text)
    return caught.value.message


def test_f32_and_bf16_are_two_devices() -> None:
    found = BACKEND.find()
    names = {device.name: device.precision for device in found.devices}
    absent = {each.name: each.reason for each in found.absent}
    assert names["openvino"] == "f32"
    assert names.get("openvino-bf16") == "bf16" or "bf16 instructions" in absent["openvino-bf16"]
    assert found.versions["openvino"]


def test_f32_computes_in_f32_whatever_the_cpu_would_rather() -> None:
    values = np.linspace(-3, 3, 64, dtype=np.float32).reshape(8, 8)
    model = slice_of(
        '<ir_version: 10, opset_import: ["": 21]> square (float[8,8] x) => (float[8,8] y) { y = MatMul(x, x) }'
    )
    exact = values.astype(np.float64) @ values.astype(np.float64)
    error = np.abs(BACKEND.load(model, F32).run({"x": values})["y"] - exact).max() / np.abs(exact).max()
    assert error < 1e-6


def test_a_bound_call_reads_the_inputs_as_they_are_then_and_writes_in_place() -> None:
    runner = BACKEND.load(unary("Neg"), F32)
    x, y = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    call = runner.bind({"x": x}, {"y": y})
    for value in (1.0, 2.0):
        x[:] = value
        call()
        np.testing.assert_array_equal(y, np.full((2, 3), -value))


def test_one_array_joins_an_openvino_slice_and_an_onnx_runtime_slice_without_a_copy() -> None:
    x, between, y = (np.zeros((2, 3), np.float32) for _ in range(3))
    first = BACKEND.load(unary("Neg"), F32).bind({"x": x}, {"y": between})
    second = ORT.load(unary("Relu"), Device("cpu")).bind({"x": between}, {"y": y})
    x[:] = -5
    first()
    second()
    np.testing.assert_array_equal(y, np.full((2, 3), 5.0))


@pytest.mark.parametrize(
    ("type_name", "dtype"),
    [
        ("bfloat16", ml_dtypes.bfloat16),
        ("float16", np.float16),
        ("double", np.float64),
        ("bool", np.bool_),
        ("uint8", np.uint8),
        ("int64", np.int64),
        ("int64", np.longlong),
    ],
)
def test_every_type_that_it_takes_runs_and_binds(type_name: str, dtype: type) -> None:
    runner = BACKEND.load(unary("Identity", type_name), F32)
    x = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    np.testing.assert_array_equal(runner.run({"x": x})["y"], x)
    y = np.zeros_like(x)
    runner.bind({"x": x}, {"y": y})()
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("type_name", ["string", "float8e4m3fn"])
def test_types_that_it_lacks_are_refused_by_name(type_name: str) -> None:
    with pytest.raises(BackendError, match="input 'x': OpenVINO's CPU plugin computes no "):
        BACKEND.load(unary("Identity", type_name), F32)


def test_a_slice_of_dynamic_shape_runs_at_every_size() -> None:
    runner = BACKEND.load(unary("Neg", shape="[n]"), F32)
    for extent in (3, 0, 5):
        assert runner.run({"x": np.ones(extent, np.float32)})["y"].shape == (extent,)


def test_functions_are_inlined_and_external_weights_taken_in(tmp_path: object) -> None:
    model = slice_of(
        '<ir_version: 10, opset_import: ["": 21, "local": 1]> outer (float[6] x, float[6] w) => (float[6] y) '
        '{ y = local.shift(x, w) } <domain: "local", opset_import: ["": 21]> shift (a, b) => (c) { c = Add(a, b) }'
    ).model
    (tmp_path / "w.bin").write_bytes(np.arange(6, dtype=np.float32).tobytes())  # type: ignore[operator]
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[6], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    model.graph.initializer.append(tensor)
    del model.graph.input[1]
    before = model.SerializeToString()
    runner = BACKEND.load(SliceModel(model, str(tmp_path), ("x",), ("y",)), F32)
    np.testing.assert_array_equal(runner.run({"x": np.ones(6, np.float32)})["y"], np.arange(6) + 1)
    assert model.SerializeToString() == before


def test_unsupported_operators_are_named() -> None:
    message = refusal(
        '<ir_version: 10, opset_import: ["": 21, "my.domain": 1]> foreign (float[1] x) => (float[1] y) '
        "{ y = my.domain.Foo(x) }"
    )
    assert "my.domain" in message
    assert "Foo" in message


def test_what_openvino_has_no_rule_for_is_named_with_its_reason() -> None:
    message = refusal('<ir_version: 10, opset_import: ["": 17]> det (float[2,2] x) => (float y) { y = Det(x) }')
    assert "on openvino: " in message
    assert "Det" in message


def test_claims_need_no_compiling() -> None:
    top_k = onnx.helper.make_node("TopK", ["x", "k"], ["values", "indices"])
    assert "equal values" in (BACKEND.supports(top_k, F32) or "")
    assert BACKEND.supports(onnx.helper.make_node("Conv", ["x", "w"], ["y"]), F32) is None


@pytest.mark.parametrize(("type_name", "operator"), [("uint8", "Sub"), ("int8", "Add"), ("uint16", "Mul")])
def test_narrow_integers_that_would_saturate_instead_of_wrapping_are_refused(type_name: str, operator: str) -> None:
    message = refusal(
        f'<ir_version: 10, opset_import: ["": 21]> wrap ({type_name}[2] a, {type_name}[2] b) => ({type_name}[2] y) '
        f"{{ y = {operator}(a, b) }}"
    )
    assert "saturates" in message


def test_unsigned_arithmetic_that_would_be_cut_is_refused() -> None:
    text = '<ir_version: 10, opset_import: ["": 21]> hash (uint64[2] a, uint64[2] b) => (uint64[2] y) { y = Add(a, b) }'
    assert "computes u64 in 32 signed bits" in refusal(text)


def test_a_cast_from_64_unsigned_bits_is_refused() -> None:
    text = '<ir_version: 10, opset_import: ["": 21]> hash (uint64[2] x) => (float[2] y) { y = Cast<to = 1>(x) }'
    assert "reads u64 as 32 signed bits" in refusal(text)


def test_integers_beyond_32_bits_are_refused_when_they_come() -> None:
    runner = BACKEND.load(unary("Neg", "int64"), F32)
    x, y = np.full((2, 3), 2**40, np.int64), np.zeros((2, 3), np.int64)
    call = runner.bind({"x": x}, {"y": y})
    for attempt in (lambda: runner.run({"x": x}), call):
        with pytest.raises(BackendError, match="'x' holds integers beyond 32 bits"):
            attempt()
    x[:] = 5
    call()
    np.testing.assert_array_equal(y, np.full((2, 3), -5))


def test_a_slice_to_the_end_may_say_so_with_the_largest_integer() -> None:
    runner = load(
        '<ir_version: 10, opset_import: ["": 21]> tail (float[5] x, int64[1] from, int64[1] to) => (float[n] y) '
        "{ y = Slice(x, from, to) }"
    )
    x = np.arange(5, dtype=np.float32)
    feed = {"x": x, "from": np.array([2], np.int64), "to": np.array([LARGE], np.int64)}
    np.testing.assert_array_equal(runner.run(feed)["y"], x[2:])  # type: ignore[attr-defined]


def test_repeats_computed_at_run_time_are_refused() -> None:
    text = '<ir_version: 10, opset_import: ["": 21]> t (float[2] x, int64[1] r) => (float[n] y) { y = Tile(x, r) }'
    assert "Tile" in refusal(text)


def joined(output: str) -> SliceModel:
    """Values that are joined, quantised to int8, dequantised and convolved; ``output`` names the slice's second."""
    weights = ", ".join(str(value) for value in np.random.default_rng(0).integers(-60, 60, 256))
    return slice_of(
        '<ir_version: 8, opset_import: ["": 17]> j (float[1,8,6,6] a, float[1,8,6,6] b) => '
        f"(float[1,16,6,6] y, {output}) <float s={{0.01}}, int8 z={{7}}, float t={{0.003}}, int8 o={{0}}, "
        f"int8[16,16,1,1] v={{{weights}}}> {{ "
        "c = Concat<axis=1>(a, b) q = QuantizeLinear(c, s, z) d = DequantizeLinear(q, s, z) "
        "w = DequantizeLinear(v, t, o) y = Conv(d, w) }"
    )


@pytest.mark.parametrize("output", ["float[1,16,6,6] d", "int8[1,16,6,6] q"])
def test_joined_and_quantised_values_are_convolved_rightly(output: str) -> None:
    model = joined(output)
    before = model.model.SerializeToString()
    random = np.random.default_rng(1)
    inputs = {name: random.normal(size=(1, 8, 6, 6)).astype(np.float32) * 0.5 for name in "ab"}
    expected = ORT.load(model, Device("cpu")).run(inputs)
    made = BACKEND.load(model, F32).run(inputs)
    for name in model.outputs:
        np.testing.assert_allclose(made[name], expected[name], atol=1e-4)
        assert made[name].dtype == expected[name].dtype
    assert model.model.SerializeToString() == before


def averaged(attributes: str, before: str = "d") -> str:
    """Dequantised values with a zero point that is not zero, averaged over windows, quantised again."""
    return (
        '<ir_version: 8, opset_import: ["": 17]> p (int8[1,1,8,8] x) => (int8[1,1,n,n] y) '
        "<float s={0.05}, int8 z={3}, int64[8] pads={0,0,1,1,0,0,1,1}> { d = DequantizeLinear(x, s, z) "
        f"padded = Pad(d, pads) a = AveragePool<kernel_shape=[3,3], {attributes}>({before}) "
        "y = QuantizeLinear(a, s, z) }"
    )


def test_an_average_that_counts_padding_of_dequantised_values_is_refused() -> None:
    for text in (
        averaged("pads=[1,1,1,1], count_include_pad=1"),
        averaged('auto_pad="SAME_UPPER", count_include_pad=1'),
        averaged("strides=[2,2]", "padded"),
    ):
        assert "AveragePool" in refusal(text)


@pytest.mark.parametrize("attributes", ["pads=[1,1,1,1]", "count_include_pad=1"])
def test_an_average_that_counts_no_padding_is_right_after_dequantising(attributes: str) -> None:
    model = slice_of(averaged(attributes))
    x = np.random.default_rng(0).integers(-128, 128, (1, 1, 8, 8)).astype(np.int8)
    expected = ORT.load(model, Device("cpu")).run({"x": x})["y"].astype(int)
    assert np.abs(BACKEND.load(model, F32).run({"x": x})["y"] - expected).max() <= 1


def test_an_input_that_openvino_drops_is_refused_unless_it_is_empty() -> None:
    reduce = (
        '<ir_version: 10, opset_import: ["": 21]> total (float[2,3] x, int64[{}] axes) => (float[1,1] y) '
        "{{ y = ReduceSum(x, axes) }}"
    )
    runner = load(reduce.format(0))
    feed = {"x": np.ones((2, 3), np.float32), "axes": np.zeros(0, np.int64)}
    assert runner.run(feed)["y"].item() == 6.0  # type: ignore[attr-defined]


def test_an_output_of_another_shape_than_declared_is_refused() -> None:
    text = (
        '<ir_version: 10, opset_import: ["": 22]> pool (float[1,1,2,2] x) => (float[1,1,1,1] y) '
        "{ y = MaxPool<kernel_shape = [1,1], strides = [2,2], ceil_mode = 1>(x) }"
    )
    assert "makes 'y' of shape [1, 1, 2, 2], not [1, 1, 1, 1]" in refusal(text)


def test_the_softmax_of_old_operator_sets_is_right() -> None:
    model = slice_of(
        '<ir_version: 8, opset_import: ["": 11]> old (float[2,3,4] x) => (float[2,3,4] y) { y = Softmax<axis = 1>(x) }'
    )
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    expected = ORT.load(model, Device("cpu")).run({"x": x})["y"]
    np.testing.assert_allclose(BACKEND.load(model, F32).run({"x": x})["y"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"thread": 1}, "option 'thread' is unknown"),
        ({"threads": 0}, "threads = 0"),
        ({"cores": "0", "threads": 2}, "OpenVINO places its own threads"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        BACKEND.load(unary("Neg"), Device("openvino", options=options))  # type: ignore[arg-type]


def test_a_precision_that_it_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot compute in 'int8'"):
        BACKEND.load(unary("Neg"), Device("openvino", precision="int8"))


def test_a_closed_runner_says_so() -> None:
    runner = BACKEND.load(unary("Neg"), F32)
    runner.close()
    runner.close()
    with pytest.raises(BackendError, match="it was closed"):
        runner.run({"x": np.zeros((2, 3), np.float32)})


def test_many_external_weights_are_mapped_not_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mosaic_onnx.backends.openvino import compile as openvino_compile

    monkeypatch.setattr(openvino_compile, "_MANY_BYTES", 4096)
    monkeypatch.setattr(openvino_compile, "_LARGE_BYTES", 2048)
    monkeypatch.setattr(openvino_compile, "_LARGEST_MESSAGE_BYTES", 8192)
    random = np.random.default_rng(0)
    w, b = random.standard_normal((64, 64)).astype(np.float32), random.standard_normal(64).astype(np.float32)
    made = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[1, 64] x) => (float[1, 64] y) { h = MatMul(x, w)  y = Add(h, b) }""")
    made.graph.initializer.extend(onnx.numpy_helper.from_array(each, name) for each, name in ((w, "w"), (b, "b")))
    onnx.save(made, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    x = random.standard_normal((1, 64)).astype(np.float32)
    runner = BACKEND.load(SliceModel(model, str(tmp_path), ("x",), ("y",)), F32)
    np.testing.assert_allclose(runner.run({"x": x})["y"], x @ w + b, rtol=1e-5, atol=1e-5)
    runner.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m.onnx", "w.bin"]


def test_a_slice_that_wants_more_memory_maps_than_there_are_is_refused(tmp_path: Path) -> None:
    (tmp_path / "maps").write_text("one\n" * 1000)
    (tmp_path / "limit").write_text("10000\n")
    assert too_many_maps(9_000, tmp_path / "maps", tmp_path / "limit") is None
    reason = too_many_maps(10_000, tmp_path / "maps", tmp_path / "limit")
    assert reason is not None
    assert "10,000 nodes want about 10,500 memory maps and the system grants 10,000" in reason
    assert too_many_maps(10_000, tmp_path / "absent", tmp_path / "limit") is None


def nested_ifs(depth: int) -> onnx.NodeProto:
    """An If whose branches are Ifs, down to a depth."""
    value = onnx.helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, [2])
    inner = onnx.helper.make_node("Relu", ["x"], ["o"])
    for _ in range(depth):
        branches = [onnx.helper.make_graph([inner], name, [], [value]) for name in ("then", "else")]
        inner = onnx.helper.make_node("If", ["c"], ["o"], then_branch=branches[0], else_branch=branches[1])
    return inner


def test_ifs_that_would_compile_for_minutes_are_not_claimed() -> None:
    assert BACKEND.supports(nested_ifs(3), F32) is None
    chain = nested_ifs(1)
    for _ in range(MOST_NESTED_IFS):
        value = onnx.helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, [2])
        other = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["o"])], "else", [], [value])
        body = onnx.helper.make_graph([chain], "then", [], [value])
        chain = onnx.helper.make_node("If", ["c"], ["o"], then_branch=body, else_branch=other)
    reason = BACKEND.supports(chain, F32)
    assert reason is not None
    assert "each doubles the time" in reason
