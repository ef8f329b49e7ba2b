"""Graphs of ONNX GraphSurgeon in and out."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime

import mosaic_onnx
from mosaic_onnx.integrations.graphsurgeon import graph_of_model, model_of_graph, partition_graph
from tests.unit.rewriting.test_rewrite import CHAIN, THREE, plan_for
from tests.unit.small_models import from_text

X = np.array([-1.5, 2.5], np.float32)


def output(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X})[0]


def partitioned() -> onnx.ModelProto:
    return mosaic_onnx.partition(from_text(CHAIN), *plan_for(THREE))


def slices(graph: gs.Graph) -> list[str]:
    return [node.op for node in graph.nodes if node.op.startswith("slice_")]


def test_a_partitioned_model_goes_through_graphsurgeon_and_back_whole() -> None:
    before = partitioned()
    after = model_of_graph(graph_of_model(before), before)
    assert np.array_equal(output(after), output(before))
    assert after.metadata_props == before.metadata_props
    assert after.configuration == before.configuration
    assert after.ir_version == before.ir_version
    for one, other in zip(after.graph.node, before.graph.node, strict=True):
        assert (one.name, one.op_type, one.output) == (other.name, other.op_type, other.output)
        assert one.metadata_props == other.metadata_props
        assert one.device_configurations == other.device_configurations
    onnx.checker.check_model(after, full_check=True)


def test_an_edit_made_in_graphsurgeon_is_kept_and_so_is_the_rest() -> None:
    before = from_text(CHAIN)
    for node in before.graph.node:
        node.metadata_props.add(key="from", value=node.name)
    graph = graph_of_model(before)
    next(node for node in graph.nodes if node.name == "c").op = "Abs"
    after = model_of_graph(graph, before)
    assert [node.op_type for node in after.graph.node] == ["Relu", "Add", "Abs"]
    assert [[one.value for one in node.metadata_props] for node in after.graph.node] == [["a"], ["b"], []]


def test_a_graph_is_cut_to_a_plan_and_the_given_one_stays() -> None:
    graph = graph_of_model(from_text(CHAIN))
    made = partition_graph(graph, *plan_for(THREE))
    assert slices(made) == ["slice_000", "slice_001", "slice_002"]
    assert slices(graph) == []
    assert np.array_equal(output(gs.export_onnx(made)), output(from_text(CHAIN)))
    assert [value.name for value in made.inputs + made.outputs] == ["x", "y"]


def test_a_round_trip_twice_is_a_round_trip_once() -> None:
    before = partitioned()
    once = model_of_graph(graph_of_model(before), before)
    twice = model_of_graph(graph_of_model(once), once)
    assert twice.SerializeToString(deterministic=True) == once.SerializeToString(deterministic=True)
