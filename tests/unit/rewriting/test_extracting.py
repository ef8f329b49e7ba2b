"""Any set of nodes as a model of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.rewriting.rewrite import Extractor, extract
from tests.unit.small_models import from_text, normalised

CHAIN = "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { [a] h = Relu(x)  [b] i = Add(h, w)  [c] y = Neg(i) }"


def test_nodes_become_a_model_with_their_weights_and_types(tmp_path: Path) -> None:
    made = extract(normalised(CHAIN, tmp_path).model, None, ["b", "a"])
    assert (made.inputs, made.outputs) == (("x",), ("i",))
    assert [node.op_type for node in made.model.graph.node] == ["Relu", "Add"]
    assert [tensor.name for tensor in made.model.graph.initializer] == ["w"]
    assert made.model.graph.output[0].type.tensor_type.shape.dim[0].dim_value == 2
    onnx.checker.check_model(made.model, full_check=True)


def test_outputs_may_be_asked_for(tmp_path: Path) -> None:
    made = extract(normalised(CHAIN, tmp_path).model, None, ["a", "b"], ["h", "i"])
    assert made.outputs == ("h", "i")


def test_extracting_leaves_the_model_untouched_and_gives_the_same_twice(tmp_path: Path) -> None:
    model = normalised(CHAIN, tmp_path).model
    before = model.SerializeToString()
    extractor = Extractor(model, None)
    assert extractor.extract(["b"]) == extractor.extract(["b"])
    assert model.SerializeToString() == before


def test_a_key_of_no_node_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no node 'ghost'"):
        extract(normalised(CHAIN, tmp_path).model, None, ["ghost"])


def test_an_output_that_these_nodes_do_not_make_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'y' is not made by"):
        extract(normalised(CHAIN, tmp_path).model, None, ["a"], ["y"])


def test_a_cut_where_the_type_is_unknown_is_named(tmp_path: Path) -> None:
    model = from_text(CHAIN)
    with pytest.raises(ModelError, match="type of value 'h' is unknown"):
        extract(model, None, ["b"])


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("value_float = 1.5", np.float32(1.5)),
        ("value_int = 3", np.int64(3)),
        ("value_floats = [1.0, 2.0]", np.array([1, 2], np.float32)),
        ("value_ints = [1, 2]", np.array([1, 2])),
        ('value_string = "s"', np.array("s", object)),
        ('value_strings = ["s", "t"]', np.array(["s", "t"], object)),
    ],
)
def test_constants_come_along_as_initialisers(attribute: str, expected: Any) -> None:
    text = "g (float[2] x) => (float[2] z) { [c] k = Constant<" + attribute + ">()  [b] z = com.microsoft.Use(x, k) }"
    model = from_text(text)
    made = extract(model, None, ["b"])
    assert made.inputs == ("x",)
    tensor = made.model.graph.initializer[0]
    assert tensor.name == "k"
    assert np.array_equal(numpy_helper.to_array(tensor), expected)


def test_a_branch_brings_its_captures(tmp_path: Path) -> None:
    text = (
        "g (bool c, float[2] x) => (float[2] y) <float[2] k = {1, 2}> { [a] h = Relu(x)  [b] y = If(c) "
        "<then_branch = t () => (float[2] p) { p = Add(h, k) }, else_branch = e () => (float[2] q) { q = Neg(x) }> }"
    )
    made = extract(normalised(text, tmp_path).model, None, ["b"])
    assert made.inputs == ("c", "h", "x")
    assert [tensor.name for tensor in made.model.graph.initializer] == ["k"]


def test_only_the_functions_that_are_called_come_along(tmp_path: Path) -> None:
    model = from_text(
        "g (float[2] x) => (float[2] y) { [a] h = com.microsoft.F(x)  [b] y = com.microsoft.G(h) }"
        '<opset_import: ["" : 21, "com.microsoft" : 1], domain: "com.microsoft"> '
        "F (a) => (b) { b = com.microsoft.H(a) }"
        '<opset_import: ["" : 21], domain: "com.microsoft"> G (a) => (b) { b = Relu(a) }'
        '<opset_import: ["" : 21], domain: "com.microsoft"> H (a) => (b) { b = Neg(a) }'
    )
    made = extract(normalised(model, tmp_path).model, None, ["a"])
    assert [function.name for function in made.model.functions] == ["F", "H"]


def test_external_weights_stay_external(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.array([5, 6], np.float32).tobytes())
    model = from_text(CHAIN)
    tensor = TensorProto(name="w", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    model.graph.initializer[0].CopyFrom(tensor)
    made = extract(normalised(model, tmp_path).model, os.fspath(tmp_path), ["a", "b"])
    assert made.model.graph.initializer[0].external_data[0].value == "w.bin"
    assert made.folder == os.fspath(tmp_path)
