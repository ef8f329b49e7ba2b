"""Normalise: order, concrete inputs, the type and shape of every value, defaults said aloud."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.loading.checks import Limits
from mosaic_onnx.loading.normalise import normalise
from tests.unit.small_models import from_text, normalised, opened

DYNAMIC = (
    "g (float[batch, 3, height, width] x) => (float[batch, n] y) <int64[2] flat = {0, -1}> "
    "{ h = Relu(x)  y = Reshape(h, flat) }"
)


def test_free_dimensions_get_defaults_that_are_said_aloud(tmp_path: Path) -> None:
    found = normalised(DYNAMIC, tmp_path)
    assert found.tensors["x"].shape == (1, 3, 224, 224)
    assert found.tensors["y"].shape == (1, 3 * 224 * 224)
    assert "dimension 'batch' of x is taken as 1" in found.defaults
    assert len(found.defaults) == 3


def test_a_given_shape_is_taken_and_nothing_is_assumed(tmp_path: Path) -> None:
    found = normalised(DYNAMIC, tmp_path, {"x": (2, 3, 8, 8)})
    assert found.tensors["h"].shape == (2, 3, 8, 8)
    assert found.tensors["h"].bytes == 2 * 3 * 8 * 8 * 4
    assert found.defaults == ()


def test_a_guess_that_does_not_run_gives_way_to_one_that_does(tmp_path: Path) -> None:
    table = numpy_helper.from_array(np.zeros((4, 2), np.float32), "table")
    model = from_text(
        "g (float[1, seq] x) => (float[1, seq, 2] y) { s = Shape(x)  one = Constant<value_ints = [1]>() "
        "n = Gather(s, one)  z = Constant<value_int = 0>()  o = Constant<value_int = 1>()  k = Squeeze(n) "
        "r = Range(z, k, o)  e = Gather(table, r)  u = Unsqueeze(x, two)  two = Constant<value_ints = [2]>() "
        "y = Mul(u, e) }"
    )
    model.graph.initializer.append(table)
    found = normalised(model, tmp_path)
    size = found.tensors["x"].shape
    assert size is not None
    assert size[1] <= 4


def test_the_input_is_left_untouched_and_a_second_pass_changes_nothing(tmp_path: Path) -> None:
    model = opened(DYNAMIC, tmp_path)
    before = model.model.SerializeToString()
    once = normalise(model)
    assert model.model.SerializeToString() == before
    again = normalise(opened(once.model, tmp_path))
    assert again.tensors == once.tensors
    assert again.model.SerializeToString(deterministic=True) == once.model.SerializeToString(deterministic=True)


def test_names_metadata_and_documentation_are_kept(tmp_path: Path) -> None:
    model = from_text("g (float[2] x) => (float[2] y) { y = Relu(h)  h = Abs(x) }")
    model.graph.node[0].name, model.graph.node[0].doc_string = "last", "the end"
    model.graph.node[0].metadata_props.add(key="who", value="me")
    model.graph.value_info.append(helper.make_tensor_value_info("h", 1, None, doc_string="half way"))
    model.graph.quantization_annotation.add(tensor_name="h")
    model.model_version, model.doc_string = 7, "a model"
    found = normalised(model, tmp_path).model
    assert [node.op_type for node in found.graph.node] == ["Abs", "Relu"]
    assert found.graph.node[1] == model.graph.node[0]
    assert found.graph.value_info[0].doc_string == "half way"
    assert found.graph.quantization_annotation == model.graph.quantization_annotation
    assert (found.model_version, found.doc_string, found.ir_version) == (7, "a model", 10)


def test_operators_outside_onnx_get_their_types_from_a_trial_run(tmp_path: Path) -> None:
    found = normalised("g (float[2, 3] x) => (float[2, 3] y) { a = com.microsoft.FastGelu(x)  y = Relu(a) }", tmp_path)
    assert found.tensors["a"].element_type == onnx.TensorProto.FLOAT
    assert found.tensors["a"].shape == (2, 3)


def test_a_shape_that_depends_on_values_stays_unknown_and_its_size_is_as_seen(tmp_path: Path) -> None:
    found = normalised("g (float[2, 3] x) => (float[2, k] y) { n = NonZero(x)  y = Cast<to = 1>(n) }", tmp_path)
    assert found.tensors["y"].shape is None
    assert found.tensors["y"].bytes == 2 * 6 * 4


def test_values_that_are_no_tensors_are_left_out_of_the_table(tmp_path: Path) -> None:
    found = normalised(
        "g (float[2] x) => (float[2] y) { s = SequenceConstruct(x)  z = Constant<value_int = 0>() "
        "y = SequenceAt(s, z) }",
        tmp_path,
    )
    assert "s" not in found.tensors
    assert {value.name: value.type.WhichOneof("value") for value in found.model.graph.value_info}[
        "s"
    ] == "sequence_type"


def test_a_model_that_cannot_run_here_is_still_normalised_and_says_why(tmp_path: Path) -> None:
    model = from_text("g (float[2] x) => (float[2] y) { y = strange.Odd(x) }")
    model.opset_import.add(domain="strange", version=1)
    found = normalised(model, tmp_path)
    assert any("Odd" in note for note in found.notes)
    assert found.tensors["y"].shape == (2,)


def test_a_trial_run_that_never_ends_is_given_up(tmp_path: Path) -> None:
    model = from_text(
        "g (float[n] x) => (float[m] y) <int64 k = {9000000000000000000}, bool c = {1}> { y = Loop(k, c, x) "
        "<body = b (int64 i, bool go, float[j] a) => (bool on, float[j] o) { on = Identity(go)  o = Relu(a) }> }"
    )
    found = normalise(opened(model, tmp_path), limits=Limits(trial_s=3.0))
    assert any("given up (time" in note for note in found.notes)
    assert found.tensors["x"].shape == (1,)


def test_a_tensor_larger_than_any_machine_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tensor 'x' of shape \(1099511627776, 64\)"):
        normalised("g (float[1099511627776, 64] x) => (float[n, m] y) { y = Relu(x) }", tmp_path)


def test_a_shape_for_no_input_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'z', which is not an input"):
        normalised(DYNAMIC, tmp_path, {"z": (1,)})


def test_of_two_constants_the_last_is_kept_and_it_is_said(tmp_path: Path) -> None:
    model = from_text("g (float x) => (float y) { c = Constant<value_float = 1.0>()  y = Add(x, c) }")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value_float=2.0))
    found = normalised(model, tmp_path)
    assert [list(node.output) for node in found.model.graph.node] == [["c#superseded"], ["c"], ["y"]]
    assert any("given twice (c" in note for note in found.notes)
