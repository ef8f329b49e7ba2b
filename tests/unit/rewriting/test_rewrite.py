"""Rewrite: nodes as models of their own, and the whole as one file that any runtime runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.plans import Plan, Predicted, Slice, Transfer
from mosaic_onnx.core.profiles import Profile, ProfileLayer, TransferCost
from mosaic_onnx.rewriting.rewrite import extract, layer_assignment_settings, partition, slice_models
from tests.unit.small_models import from_text, normalised

CHAIN = "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { [a] h = Relu(x)  [b] i = Add(h, w)  [c] y = Neg(i) }"
DEVICES = (Device("cpu", backend="onnxruntime"), Device("gpu0", backend="onnxruntime"), Device("npu", io="host"))
OWN_MEMORY = tuple(
    TransferCost(*way) for name in ("gpu0", "npu") for way in (("host", name, 1e-9, 1e-5), (name, "host", 1e-9, 1e-5))
)


def plan_for(
    slices: Sequence[tuple[str, Sequence[str]]],
    transfers: Sequence[tuple[str, str, str]] = (),
    copies: tuple[TransferCost, ...] = (),
) -> tuple[Profile, Plan]:
    """One layer a slice: (device, node keys); transfers: (tensor, from, to)."""
    layers = tuple(ProfileLayer(f"layer{n}", nodes=tuple(keys)) for n, (_, keys) in enumerate(slices))
    profile = Profile("m", DEVICES, {"h": 8, "i": 8}, ("x",), ("y",), layers, copies)
    placed = tuple(Slice((number,), device) for number, (device, _) in enumerate(slices))
    moved = tuple(Transfer(*one, bytes=8, start_s=float(at)) for at, one in enumerate(transfers))
    return profile, Plan("latency", "sequential", "forced", placed, moved, Predicted(0.0, None, 0.0))


THREE = [("cpu", ["a"]), ("gpu0", ["b"]), ("cpu", ["c"])]


def run(model: onnx.ModelProto, feed: Mapping[str, Any], folder: Path | None = None) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder or "."))
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feed)))


def call(model: onnx.ModelProto, number: int) -> onnx.NodeProto:
    """The call of a slice."""
    return next(node for node in model.graph.node if node.op_type == f"slice_{number:03d}")


def transfers_of(model: onnx.ModelProto) -> list[tuple[str, str, str, str]]:
    """(value read, value made, source, destination) of each transfer."""
    found = []
    for node in model.graph.node:
        if node.op_type == "Transfer":
            words = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            found.append((node.input[0], node.output[0], words["source"].decode(), words["destination"].decode()))
    return found


def test_an_output_that_is_a_weight_is_given_by_the_first_slice(tmp_path: Path) -> None:
    model = from_text(CHAIN)
    model.graph.output.append(helper.make_tensor_value_info("w", 1, [2]))
    profile, plan = plan_for(THREE)
    slices = slice_models(normalised(model, tmp_path).model, None, plan, profile)
    assert slices[0].outputs == ("h", "w")
    assert np.array_equal(run(slices[0].model, {"x": np.zeros(2, np.float32)})[1], [1, 2])


def test_slices_become_functions_and_weights_their_inputs() -> None:
    model = partition(from_text(CHAIN), *plan_for(THREE))
    assert [function.name for function in model.functions] == ["slice_000", "slice_001", "slice_002", "Transfer"]
    assert list(model.functions[1].input) == ["h", "w"]
    assert list(call(model, 1).input) == ["h@gpu0", "w"]
    onnx.checker.check_model(model, full_check=True)


def test_a_partitioned_model_gives_the_same_bits() -> None:
    feed = {"x": np.array([-1.5, 2.5], np.float32)}
    model = partition(from_text(CHAIN), *plan_for(THREE))
    assert np.array_equal(run(model, feed)[0], run(from_text(CHAIN), feed)[0])


def test_partitioning_leaves_the_model_untouched_and_gives_the_same_twice() -> None:
    model = from_text(CHAIN)
    before = model.SerializeToString()
    first = partition(model, *plan_for(THREE)).SerializeToString(deterministic=True)
    assert partition(model, *plan_for(THREE)).SerializeToString(deterministic=True) == first
    assert model.SerializeToString() == before


SEVERAL_OUTPUTS = """
import hashlib
from tests.unit.small_models import from_text
from tests.unit.rewriting.test_rewrite import OWN_MEMORY, partition, plan_for
names = "pqrstuvw"
nodes = " ".join(f"[n{name}] {name} = Relu(x)" for name in names)
outputs = ", ".join(f"float[2] {name}" for name in names)
moves = [("x", "host", "gpu0"), *((name, "gpu0", "host") for name in names)]
plan = plan_for([("gpu0", [f"n{name}" for name in names])], moves, OWN_MEMORY)
made = partition(from_text(f"g (float[2] x) => ({outputs}) {{ {nodes} }}"), *plan)
print(hashlib.sha256(made.SerializeToString(deterministic=True)).hexdigest())
"""


def test_another_process_gives_the_same_bytes() -> None:
    digests = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", SEVERAL_OUTPUTS]
        root = Path(__file__).parents[3]
        digests.add(subprocess.run(command, env=environment, cwd=root, check=True, capture_output=True).stdout)
    assert len(digests) == 1


def test_a_partitioned_model_can_be_partitioned_again() -> None:
    once = partition(from_text(CHAIN), *plan_for(THREE))
    keys = [node.name for node in once.graph.node]
    again = partition(once, *plan_for([("cpu", keys[:2]), ("npu", keys[2:])]))
    feed = {"x": np.array([-1.5, 2.5], np.float32)}
    assert np.array_equal(run(again, feed)[0], run(from_text(CHAIN), feed)[0])
    onnx.checker.check_model(again, full_check=True)


def test_nothing_is_transferred_on_one_device() -> None:
    model = partition(from_text(CHAIN), *plan_for([("cpu", ["a", "b"]), ("cpu", ["c"])]))
    assert transfers_of(model) == []
    assert [function.name for function in model.functions] == ["slice_000", "slice_001"]


def test_devices_that_share_memory_still_have_a_boundary_between_them() -> None:
    model = partition(from_text(CHAIN), *plan_for(THREE))
    assert transfers_of(model) == [("h", "h@gpu0", "cpu", "gpu0"), ("i", "i@cpu", "gpu0", "cpu")]


def test_transfers_follow_the_plan_through_host() -> None:
    moves = [("h", "gpu0", "host"), ("h", "host", "npu"), ("i", "npu", "host"), ("x", "host", "gpu0")]
    slices = [("gpu0", ["a"]), ("npu", ["b"]), ("cpu", ["c"])]
    model = partition(from_text(CHAIN), *plan_for(slices, moves, OWN_MEMORY))
    assert transfers_of(model) == [
        ("x", "x@gpu0", "host", "gpu0"),
        ("h", "h@host", "gpu0", "host"),
        ("h@host", "h@npu", "host", "npu"),
        ("i", "i@host", "npu", "host"),
    ]
    assert list(call(model, 2).input) == ["i@host"]


def test_an_output_made_in_another_memory_keeps_its_name_at_host() -> None:
    slices = [("cpu", ["a", "b"]), ("gpu0", ["c"])]
    moves = [("i", "host", "gpu0"), ("y", "gpu0", "host")]
    model = partition(from_text(CHAIN), *plan_for(slices, moves, OWN_MEMORY))
    assert transfers_of(model) == [("i", "i@gpu0", "host", "gpu0"), ("y@gpu0", "y", "gpu0", "host")]
    assert list(model.functions[1].output) == ["y"]
    onnx.checker.check_model(model, full_check=True)


def test_a_device_that_keeps_nothing_gets_each_tensor_for_every_slice() -> None:
    text = "g (float[2] x) => (float[2] y, float[2] z) { [a] y = Relu(x)  [b] z = Neg(x) }"
    moves = [("x", "host", "npu"), ("x", "host", "npu"), ("y", "npu", "host"), ("z", "npu", "host")]
    model = partition(from_text(text), *plan_for([("npu", ["a"]), ("npu", ["b"])], moves, OWN_MEMORY))
    assert [one[:2] for one in transfers_of(model)][:2] == [("x", "x@npu"), ("x", "x@npu#2")]
    assert [list(call(model, number).input) for number in (0, 1)] == [["x@npu"], ["x@npu#2"]]


def test_slices_are_laid_out_in_an_order_that_runs() -> None:
    model = partition(from_text(CHAIN), *plan_for([("cpu", ["c"]), ("cpu", ["a"]), ("cpu", ["b"])]))
    assert [node.op_type for node in model.graph.node] == ["slice_001", "slice_002", "slice_000"]


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        ([("cpu", ["a"]), ("cpu", ["b"])], "node 'c' is in no slice"),
        ([("cpu", ["a", "b"]), ("cpu", ["b", "c"])], "node 'b' is in two slices, 0 and 1"),
        ([("cpu", ["a", "c"]), ("cpu", ["b"])], "depend on each other: 0 → 1|depend on each other: 1 → 0"),
        ([("cpu", ["a", "b", "c", "d"])], "no node 'd'"),
        ([("cpu", [])], "'layer0' of the profile names no nodes"),
    ],
)
def test_a_plan_of_another_model_is_refused(slices: list[tuple[str, list[str]]], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        partition(from_text(CHAIN), *plan_for(slices))


def test_calls_say_where_they_run() -> None:
    model = partition(from_text(CHAIN), *plan_for(THREE))
    words = {entry.key: entry.value for entry in call(model, 1).metadata_props}
    assert words["mosaic.slice"] == "1"
    assert words["mosaic.device"] == words["mosaic.state"] == words["layer_ann"] == "gpu0"
    assert json.loads(words["mosaic.layers"]) == ["layer1"]
    assert list(model.configuration[0].device) == ["cpu", "gpu0"]
    placed = call(model, 1).device_configurations[0]
    assert (placed.configuration_id, placed.pipeline_stage) == ("mosaic", 1)


def test_onnx_runtimes_assignment_names_device_classes() -> None:
    assert layer_assignment_settings(*plan_for(THREE)) == "cpu(=cpu);gpu(=gpu0)"
    assert layer_assignment_settings(*plan_for([("npu", ["a"])])) == "npu(=npu)"


def test_the_version_is_raised_to_eleven_and_no_further() -> None:
    for before, after in ((8, 11), (11, 11), (13, 13)):
        model = from_text(CHAIN)
        model.ir_version = before
        assert partition(model, *plan_for(THREE)).ir_version == after


def test_everything_that_the_model_says_survives() -> None:
    model = from_text(CHAIN)
    node = model.graph.node[1]
    node.doc_string, node.overload = "adds", ""
    node.metadata_props.add(key="who", value="me")
    node.device_configurations.add(configuration_id="theirs", pipeline_stage=4)
    model.configuration.add(name="mosaic", num_devices=1, device=["CPU"])
    model.graph.value_info.append(helper.make_tensor_value_info("h", 1, [2], doc_string="crosses"))
    model.graph.value_info.append(helper.make_tensor_value_info("i", 1, ["n"]))
    model.graph.quantization_annotation.add(tensor_name="i").quant_parameter_tensor_names.add(key="S", value="w")
    model.graph.metadata_props.add(key="graph", value="too")
    model.graph.doc_string, model.doc_string = "a graph", "a model"
    model.metadata_props.add(key="author", value="them")
    model.model_version, model.producer_name, model.domain = 9, "somebody", "org.example"
    made = partition(model, *plan_for([("cpu", ["a"]), ("gpu0", ["b", "c"])]))
    assert made.functions[1].node[0] == node
    assert [info.name for info in made.functions[1].value_info] == ["h", "i"]
    assert [(info.name, info.doc_string) for info in made.graph.value_info] == [("h", "crosses")]
    assert made.graph.quantization_annotation == model.graph.quantization_annotation
    assert made.graph.metadata_props == model.graph.metadata_props
    assert made.metadata_props[0] == model.metadata_props[0]
    assert [one.name for one in made.configuration] == ["mosaic", "mosaic_2"]
    kept = ("model_version", "producer_name", "domain", "doc_string")
    assert [getattr(made, name) for name in kept] == [getattr(model, name) for name in kept]
    assert made.graph.doc_string == "a graph"


def test_functions_overloads_and_imports_of_the_model_survive() -> None:
    model = from_text(
        "g (float[2] x) => (float[2] y) { [a] h = com.microsoft.F(x)  [b] y = Relu(h) }"
        '<opset_import: ["" : 21], domain: "com.microsoft"> F (a) => (b) { b = Neg(a) }'
    )
    model.functions[0].overload = model.graph.node[0].overload = "special"
    model.opset_import.add(domain="ai.onnx.ml", version=3)
    made = partition(model, *plan_for([("cpu", ["a"]), ("gpu0", ["b"])]))
    assert made.functions[0] == model.functions[0]
    assert made.functions[1].node[0].overload == "special"
    assert {entry.domain for entry in made.opset_import} == {"", "com.microsoft", "ai.onnx.ml", "mosaic"}
    onnx.checker.check_model(made, full_check=True)


def test_functions_of_the_model_run_inside_the_slices() -> None:
    model = from_text(
        "g (float[2] x) => (float[2] y) { [a] h = com.microsoft.F(x)  [b] y = Relu(h) }"
        '<opset_import: ["" : 21], domain: "com.microsoft"> F (a) => (b) { b = Neg(a) }'
    )
    made = partition(model, *plan_for([("cpu", ["a"]), ("gpu0", ["b"])]))
    assert np.array_equal(run(made, {"x": np.array([-1.5, 2.5], np.float32)})[0], [1.5, 0])


def test_optional_inputs_and_outputs_stay_left_out() -> None:
    text = (
        "g (float[4] x) => (float[4] y) <float low = {0}, float high = {1}> { [a] h = Clip(x, , high) "
        "[b] i, = Dropout(h)  [c] y = Clip(i, low) }"
    ).replace("i, = Dropout(h)", "i = Dropout(h)")
    made = partition(from_text(text), *plan_for(THREE))
    assert list(made.functions[0].node[0].input) == ["x", "", "high"]
    feed = {"x": np.array([-2, 0.5, 3, 9], np.float32)}
    assert np.array_equal(run(made, feed)[0], run(from_text(text), feed)[0])


def test_an_output_that_is_read_on_and_one_that_is_an_input_survive() -> None:
    text = "g (float[2] x) => (float[2] h, float[2] y, float[2] x) { [a] h = Relu(x)  [b] y = Neg(h) }"
    made = partition(from_text(text), *plan_for([("cpu", ["a"]), ("gpu0", ["b"])]))
    feed = {"x": np.array([-1.5, 2.5], np.float32)}
    for one, other in zip(run(made, feed), run(from_text(text), feed), strict=True):
        assert np.array_equal(one, other)


def test_captures_of_a_branch_become_inputs_of_its_function() -> None:
    text = (
        "g (bool c, float[2] x) => (float[2] y) <float[2] k = {1, 2}> { [a] h = Relu(x)  [b] y = If(c) "
        "<then_branch = t () => (float[2] p) { p = Add(h, k) }, else_branch = e () => (float[2] q) { q = Neg(x) }> }"
    )
    made = partition(from_text(text), *plan_for([("cpu", ["a"]), ("gpu0", ["b"])]))
    assert list(made.functions[1].input) == ["c", "h", "x", "k"]
    for flag in (True, False):
        feed = {"c": np.array(flag), "x": np.array([-1.5, 2.5], np.float32)}
        assert np.array_equal(run(made, feed)[0], run(from_text(text), feed)[0])


def test_a_slice_may_stay_as_tagged_nodes_whose_captures_follow_the_transfers() -> None:
    text = (
        "g (bool c, float[2] x) => (float[2] y) <float[2] k = {1, 2}> { [a] h = Relu(x)  [b] y = If(c) "
        "<then_branch = t () => (float[2] p) { p = Add(h, k) }, else_branch = e () => (float[2] q) { q = Neg(x) }> }"
    )
    made = partition(from_text(text), *plan_for([("cpu", ["a"]), ("gpu0", ["b"])]), inline={1})
    node = next(one for one in made.graph.node if one.op_type == "If")
    assert node.attribute[0].g.node[0].input[0] == "h@gpu0"
    assert {entry.key: entry.value for entry in node.metadata_props}["mosaic.slice"] == "1"
    assert [function.name for function in made.functions] == ["slice_000", "Transfer"]
    feed = {"c": np.array(True), "x": np.array([-1.5, 2.5], np.float32)}
    assert np.array_equal(run(made, feed)[0], run(from_text(text), feed)[0])
    onnx.checker.check_model(made, full_check=True)


def test_old_initialisers_that_are_inputs_stay_constant() -> None:
    model = from_text(CHAIN)
    model.ir_version = 3
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [2], doc_string="a weight"))
    made = partition(model, *plan_for(THREE))
    assert [value.name for value in made.graph.input] == ["x"]
    assert made.functions[1].value_info[0].doc_string == "a weight"
    feed = {"x": np.array([-1.5, 2.5], np.float32)}
    assert np.array_equal(run(made, feed)[0], run(model, feed)[0])


def test_newer_initialisers_that_are_inputs_can_still_be_overridden(tmp_path: Path) -> None:
    model = from_text(CHAIN)
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [2]))
    made = partition(model, *plan_for(THREE))
    feed = {"x": np.array([-1.5, 2.5], np.float32), "w": np.array([7, 8], np.float32)}
    assert np.array_equal(run(made, feed)[0], run(model, feed)[0])
    piece = extract(normalised(model, tmp_path).model, None, ["b"])
    assert piece.inputs == ("h",)
    assert [value.name for value in piece.model.graph.input] == ["h", "w"]


def test_an_unsorted_model_is_sorted_on_the_way() -> None:
    model = from_text("g (float[2] x) => (float[2] y) { [b] y = Neg(h)  [a] h = Relu(x) }")
    onnx.checker.check_model(partition(model, *plan_for([("cpu", ["a"]), ("gpu0", ["b"])])), full_check=True)


def test_types_of_strange_operators_are_declared_where_they_cross() -> None:
    model = from_text("g (float[2] x) => (float[2] y) { [a] h = com.microsoft.FastGelu(x)  [b] y = Relu(h) }")
    types = {"h": helper.make_tensor_type_proto(1, [2])}
    made = partition(model, *plan_for([("cpu", ["a"]), ("gpu0", ["b"])]), types=types)
    onnx.checker.check_model(made, full_check=True)
    assert not made.graph.value_info[0].type.tensor_type.HasField("shape")
