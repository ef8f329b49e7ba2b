"""Nothing outside the model's folder is ever read, and external data that lies about itself is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.attacks import (
    external,
    refuse,
    relu_model,
    save,
    sparse_initialiser,
)

ESCAPES = [
    "../outside.bin",
    "/etc/passwd",
    "sub/../../outside.bin",
    "*/_ORT_MEM_ADDR_/*",
    "a\\..\\outside.bin",
    "",
    ".",
]


@pytest.mark.parametrize("location", ESCAPES)
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "outside.bin").write_bytes(bytes(8))
    folder = tmp_path / "model"
    folder.mkdir()
    error = refuse(save(relu_model(weight=external(location)), folder), "tensor 'w'")
    assert "external data" in error.message


def test_external_data_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.bin").write_bytes(bytes(8))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").symlink_to(tmp_path / "outside.bin")
    refuse(save(relu_model(weight=external("w.bin")), folder), "tensor 'w'.*symbolic link: 'w.bin'")


def test_external_data_behind_a_linked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "w.bin").write_bytes(bytes(8))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "sub").symlink_to(tmp_path / "outside")
    refuse(save(relu_model(weight=external("sub/w.bin")), folder), "symbolic link: 'sub/w.bin'")


def test_external_data_behind_a_hard_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.bin").write_bytes(bytes(8))
    folder = tmp_path / "model"
    folder.mkdir()
    os.link(tmp_path / "outside.bin", folder / "w.bin")
    refuse(save(relu_model(weight=external("w.bin")), folder), "'w.bin', a file with 2 names")


def test_external_data_in_a_pipe_or_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.pipe")
    (tmp_path / "w.folder").mkdir()
    for location in ("w.pipe", "w.folder"):
        refuse(save(relu_model(weight=external(location)), tmp_path), f"{location}', which is not a regular file")


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    refuse(save(relu_model(weight=external("w.bin")), tmp_path), "tensor 'w'.*'w.bin': No such file")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"offset": "4"}, "bytes 4–12 of 'w.bin', which has only 8"),
        ({"offset": "-8"}, "offset '-8'"),
        ({"offset": "1e3"}, "offset '1e3'"),
        ({"offset": "9" * 30}, "offset '999"),
        ({"length": str(2**45)}, "35184372088832 bytes long"),
        ({"length": "-8"}, "length '-8'"),
        ({"length": "4"}, "needs 8 bytes, and its external data is 4"),
        ({"__class__": "x"}, "unknown external-data key '__class__'"),
    ],
)
def test_external_data_that_lies_about_itself_is_refused(tmp_path: Path, words: dict[str, str], said: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    refuse(save(relu_model(weight=external("w.bin", **words)), tmp_path), said)


def test_an_external_key_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    weight = external("w.bin")
    weight.external_data.add(key="location", value="/etc/passwd")
    refuse(save(relu_model(weight=weight), tmp_path), "'location' twice")


def test_external_and_inline_data_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    weight = external("w.bin")
    weight.raw_data = bytes(8)
    refuse(save(relu_model(weight=weight), tmp_path), "both external data and raw_data")


def test_external_strings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    weight = external("w.bin")
    weight.data_type = TensorProto.STRING
    refuse(save(relu_model(weight=weight), tmp_path), "strings, which cannot be external")


def constant_in_attribute(tensor: TensorProto) -> onnx.ModelProto:
    model = relu_model()
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    return model


def constant_in_branch(tensor: TensorProto) -> onnx.ModelProto:
    model = relu_model()
    value = helper.make_tensor_value_info("w", TensorProto.FLOAT, [2])
    branch = helper.make_graph([], "branch", [], [value], [tensor])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "flag"))
    model.graph.node.append(helper.make_node("If", ["flag"], ["z"], then_branch=branch, else_branch=branch))
    model.graph.initializer[0].name = "weight"
    model.graph.node[1].input[1] = "weight"
    return model


def constant_in_function(tensor: TensorProto) -> onnx.ModelProto:
    model = relu_model()
    body = [helper.make_node("Constant", [], ["o"], value=tensor)]
    model.functions.append(helper.make_function("own", "F", [], ["o"], body, [helper.make_opsetid("", 21)]))
    model.opset_import.add(domain="own", version=1)
    return model


def tensors_of_attribute(tensor: TensorProto) -> onnx.ModelProto:
    model = relu_model()
    attribute = onnx.AttributeProto(name="t", type=onnx.AttributeProto.TENSORS, tensors=[tensor])
    model.graph.node[0].attribute.append(attribute)
    return model


def training_tensor(tensor: TensorProto) -> onnx.ModelProto:
    model = relu_model()
    model.training_info.add().initialization.initializer.append(tensor)
    return model


@pytest.mark.parametrize(
    "build",
    [
        constant_in_attribute,
        constant_in_branch,
        constant_in_function,
        tensors_of_attribute,
        sparse_initialiser,
        training_tensor,
    ],
)
def test_external_data_is_looked_at_wherever_a_tensor_may_stand(
    tmp_path: Path, build: Callable[[TensorProto], onnx.ModelProto]
) -> None:
    error = refuse(save(build(external("../outside.bin")), tmp_path), "'w'|the tensor")
    assert "external data" in error.message


def test_a_compiled_node_whose_code_lies_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.bin").write_bytes(bytes(8))
    folder = tmp_path / "model"
    folder.mkdir()
    model = relu_model()
    model.opset_import.add(domain="com.microsoft", version=1)
    words = {"embed_mode": 0, "ep_cache_context": "../outside.bin"}
    node = helper.make_node("EPContext", ["x"], ["z"], "compiled", domain="com.microsoft", **words)
    model.graph.node.append(node)
    refuse(
        save(model, folder), r"'compiled' \(com\.microsoft::EPContext\) has its external data at '\.\./outside\.bin'"
    )
