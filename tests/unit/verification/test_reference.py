from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from mosaic_onnx.core.errors import BackendError, ModelError
from mosaic_onnx.verification.reference import BATCH_BYTES, Reference, batches

X = np.array([-1.0, 2.0], np.float32)


def model_of(graph: str, opset: int = 17) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}, "unknown": 1]> {graph}')


CHAIN = "g (float[2] x) => (float[2] y) { a = Relu(x)\n b = Neg(a)\n y = Exp(b) }"


def test_outputs_and_any_tensor_between_are_exposed_from_one_run() -> None:
    reference = Reference(model_of(CHAIN), None)
    assert reference.outputs == ("y",)
    np.testing.assert_array_equal(reference.run({"x": X}, ["b", "x", "a"])["b"], [-0.0, -2])
    assert list(reference.run({"x": X})) == ["y"]
    assert list(reference.run({"x": X}, ["a", "a", "y"])) == ["a", "y"]


def test_the_model_is_left_as_it_is() -> None:
    model = model_of(CHAIN)
    before = model.SerializeToString()
    Reference(model, None).run({"x": X}, ["a", "b"])
    assert model.SerializeToString() == before


def test_nothing_is_fused_or_folded() -> None:
    text = "g (float[2] x) => (float[2] y) { c = Constant<value_float = 2.0>()\n d = Add(c, c)\n y = Mul(x, d) }"
    assert Reference(model_of(text), None).run({"x": X}, ["d"])["d"] == 4


def test_a_name_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(ModelError, match="q is not a tensor"):
        Reference(model_of(CHAIN), None).run({"x": X}, ["q"])


def test_where_onnx_runtime_has_no_kernel_the_evaluator_stands_in_and_says_so() -> None:
    model = model_of("g (double[2] x) => (double[2] y) { a = Neg(x)\n y = Atan(a) }")
    reference = Reference(model, None)
    assert reference.runtime == "onnx evaluator"
    found = reference.run({"x": X.astype(np.float64)}, ["a", "y"])
    np.testing.assert_allclose(found["y"], np.arctan(-X.astype(np.float64)))
    with pytest.raises(ModelError, match="no reference"):
        Reference(model, None, "ONNX Runtime")


def test_a_model_that_nothing_runs_has_no_reference() -> None:
    with pytest.raises(ModelError, match="no reference"):
        Reference(model_of("g (float[2] x) => (float[2] y) { y = unknown.Op(x) }"), None)


def test_a_run_that_fails_names_the_reference() -> None:
    reference = Reference(model_of("g (int64[2] i, float[3] t) => (float[2] y) { y = Gather(t, i) }"), None)
    with pytest.raises(BackendError, match="reference"):
        reference.run({"i": np.array([0, 99]), "t": np.ones(3, np.float32)})


def test_closing_is_harmless_and_the_next_run_loads_again() -> None:
    reference = Reference(model_of(CHAIN), None)
    first = reference.run({"x": X})["y"]
    reference.close()
    reference.close()
    np.testing.assert_array_equal(reference.run({"x": X})["y"], first)


def test_weights_that_old_models_list_as_inputs_are_constants() -> None:
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("x", "w")]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", inputs, [output], [weight])
    model = helper.make_model(graph, ir_version=3, opset_imports=[helper.make_opsetid("", 8)])
    assert Reference(model, None).run({"x": np.ones((2, 2), np.float32)})["y"].tolist() == [[2, 2], [2, 2]]


@pytest.mark.parametrize("operator", ["Relu", "Atan"])
def test_external_weights_stay_where_they_are(tmp_path: Path, operator: str) -> None:
    kind = "float" if operator == "Relu" else "double"
    dtype = np.float32 if operator == "Relu" else np.float64
    model = model_of(f"g ({kind}[400] x) => ({kind}[400] y) {{ a = Add(x, w)\n y = {operator}(a) }}")
    model.graph.initializer.append(numpy_helper.from_array(np.arange(400, dtype=dtype), "w"))
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    opened = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    found = Reference(opened, str(tmp_path)).run({"x": np.zeros(400, dtype)}, ["a"])["a"]
    np.testing.assert_array_equal(found, np.arange(400))
    assert opened.graph.initializer[0].data_location == TensorProto.EXTERNAL


def test_batches_hold_what_fits_and_never_split_a_group() -> None:
    half = BATCH_BYTES // 2
    sizes = {"a": half, "b": half, "c": half, "huge": 3 * BATCH_BYTES, "d": 1}
    groups = [["a", "b"], ["b"], ["c"], ["huge", "a"], ["d"]]
    assert [list(each) for each in batches(groups, sizes)] == [[0, 1], [2], [3], [4]]
    assert batches([], {}) == []
    assert [list(each) for each in batches([["d"]] * 5, sizes)] == [[0, 1, 2, 3, 4]]
