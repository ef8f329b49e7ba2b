"""The one door: what it takes, what it says of a runtime's refusal, and how little memory it needs."""

from __future__ import annotations

import resource
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, parser

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.loading.model import (
    OpenedModel,
    custom_operators,
    loads_in_runtime,
    open_model,
    open_models,
    runtime_accepts,
)
from mosaic_onnx.loading.normalise import normalise

HEADER = '<ir_version: 10, opset_import: ["" : 21, "own" : 1]> '


def opened(text: str, folder: Path) -> OpenedModel:
    return open_model(saved(text, folder))


def saved(text: str, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(parser.parse_model(HEADER + text).SerializeToString())
    return path


def test_an_unsorted_graph_is_opened_as_it_is(tmp_path: Path) -> None:
    model = opened("g (float[2] x) => (float[2] y) { y = Relu(a)  a = Neg(x) }", tmp_path)
    assert not model.is_orderly
    assert [node.op_type for node in model.model.graph.node] == ["Relu", "Neg"]


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    import hashlib

    path = saved("g (float[2] x) => (float[2] y) { y = Relu(x) }", tmp_path)
    assert open_model(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_outputs_of_unknown_rank_and_type_are_taken(tmp_path: Path) -> None:
    path = saved("g (float[2] x) => (float[2] y) { y = Relu(x) }", tmp_path)
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.output.append(onnx.ValueInfoProto(name="x"))
    model.graph.value_info.append(onnx.ValueInfoProto(name="y"))
    path.write_bytes(model.SerializeToString())
    assert open_model(path).is_orderly


def test_several_files_are_opened_together_and_the_bad_one_is_named(tmp_path: Path) -> None:
    good = saved("g (float[2] x) => (float[2] y) { y = Relu(x) }", tmp_path)
    bad = saved("g (float[2] x) => (float[2] y) { y = Relu(ghost) }", tmp_path, "bad.onnx")
    assert [one.path for one in open_models([good, good])] == [good, good]
    with pytest.raises(ModelError, match=r"bad\.onnx: .*'ghost'"):
        open_models([good, bad])


def test_a_sound_model_is_accepted_by_the_runtime(tmp_path: Path) -> None:
    model = opened("g (float[2] x) => (float[2] y) { y = Relu(x) }", tmp_path)
    assert runtime_accepts(model) is None
    assert loads_in_runtime(model.model, tmp_path) is None


def test_the_runtimes_refusal_names_node_and_operator(tmp_path: Path) -> None:
    model = opened("g (double[2] x) => (double[2] y) { [angle] y = Atan(x) }", tmp_path)
    assert runtime_accepts(model) == "Could not find an implementation for Atan(7) node with name 'angle'"


def test_operators_of_strange_domains_are_listed_with_their_nodes(tmp_path: Path) -> None:
    text = "g (float[2] x) => (float[2] y) { [first] a = own.Odd(x)  b = own.Odd(a)  y = own.Known(b) }"
    known = '<opset_import: ["" : 21], domain: "own"> Known (a) => (b) { b = Relu(a) }'
    model = opened(text + known, tmp_path)
    assert custom_operators(model.model) == {"own::Odd": ("first", "%b")}


def test_more_than_two_gibibytes_of_weights_are_never_read(tmp_path: Path) -> None:
    rows, count = 50_000_000, 3
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(rows * count * 16)  # sparse: takes no disk
    weights, nodes = [], []
    for number in range(count):
        weight = TensorProto(name=f"w{number}", data_type=1, dims=[rows, 4], data_location=TensorProto.EXTERNAL)
        words = {"location": "w.bin", "offset": str(number * rows * 16), "length": str(rows * 16)}
        for key, value in words.items():
            weight.external_data.add(key=key, value=value)
        weights.append(weight)
        nodes.append(helper.make_node("Gather", [f"w{number}", "i"], [f"g{number}"]))
    nodes.append(helper.make_node("Sum", [f"g{number}" for number in range(count)], ["y"]))
    inputs = [helper.make_tensor_value_info("i", TensorProto.INT64, ["rows"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), path)
    before_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    model = open_model(path)
    assert model.external_bytes == rows * count * 16
    assert normalise(model, {"i": (5,)}).tensors["y"].shape == (5, 4)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before_bytes < 2**28


def test_initialisers_of_an_old_model_need_not_be_its_inputs(tmp_path: Path) -> None:
    path = saved("g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Add(x, w) }", tmp_path)
    model = onnx.load(path)
    model.ir_version = 3
    path.write_bytes(model.SerializeToString())
    found = open_model(path).model
    assert found.ir_version == 3
    assert [value.name for value in found.graph.input] == ["x"]
