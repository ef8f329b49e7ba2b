from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser

from mosaic_onnx.devices import Device
from mosaic_onnx.graphs import node_keys
from mosaic_onnx.inputs import make_inputs
from mosaic_onnx.passes.rewrite import partition
from mosaic_onnx.plans import Plan, Predicted, Slice, Transfer
from mosaic_onnx.profiles import Copy, Profile, ProfileLayer
from mosaic_onnx.proof.uncut import uncut
from mosaic_onnx.reference import Reference
from tests.unit.proof.helpers import typed

CHAIN = "g (float[4] x) => (float[4] y, float[4] b) { a = Relu(x)\n b = Neg(a)\n c = Add(a, b)\n y = Exp(c) }"
BRANCHES = """g (bool p, float[4] x) => (float[4] y) {
    a = Relu(x)
    b = If(p) <then_branch = yes () => (t) { t = Neg(a) }, else_branch = no () => (e) { e = Exp(a) }>
    y = Add(a, b) }"""


def partitioned(model: onnx.ModelProto) -> onnx.ModelProto:
    """A layer a node; the devices take turns, the gpu has its own memory."""
    keys = node_keys(model.graph)
    layers = tuple(
        ProfileLayer(key, tuple(node.input), tuple(node.output), nodes=(key,))
        for key, node in zip(keys, model.graph.node, strict=True)
    )
    devices = (Device("cpu"), Device("gpu"))
    copies = (Copy("host", "gpu"), Copy("gpu", "host"))
    inputs = tuple(value.name for value in model.graph.input)
    outputs = tuple(value.name for value in model.graph.output)
    profile = Profile("m", devices, {}, inputs, outputs, layers, copies)
    slices = tuple(Slice((index,), devices[index % 2].name) for index in range(len(layers)))
    transfers = tuple(
        Transfer(name, "gpu", "host", 16) for index, layer in enumerate(layers) if index % 2 for name in layer.outputs
    )
    return partition(model, profile, Plan("latency", "sequential", "x", slices, transfers, Predicted(0.0, None, 0.0)))


@pytest.mark.parametrize("text", [CHAIN, BRANCHES])
def test_the_uncut_model_has_the_nodes_values_and_results_of_the_one_that_was_cut(text: str) -> None:
    model = typed(text) if text is CHAIN else parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    cut_model = partitioned(model)
    assert any(node.domain == "mosaic" for node in cut_model.graph.node)
    before = cut_model.SerializeToString()
    whole = uncut(cut_model)
    assert cut_model.SerializeToString() == before
    assert not any(node.domain == "mosaic" for node in whole.graph.node)
    for mine, theirs in zip(model.graph.node, whole.graph.node, strict=True):
        assert (mine.op_type, mine.input, mine.output, mine.attribute) == (
            theirs.op_type,
            theirs.input,
            theirs.output,
            theirs.attribute,
        )
    inputs = make_inputs(model)
    for name, array in Reference(model, None).run(inputs).items():
        np.testing.assert_array_equal(Reference(whole, None).run(inputs)[name], array)


def test_types_of_inner_values_come_back() -> None:
    model = typed(CHAIN)
    whole = uncut(partitioned(model))
    assert {info.name for info in whole.graph.value_info} >= {info.name for info in model.graph.value_info}


def test_a_model_that_is_not_partitioned_comes_back_as_it_is() -> None:
    model = typed(CHAIN)
    assert uncut(model) == model
    once = uncut(partitioned(model))
    assert uncut(once) == once


def test_functions_of_the_model_itself_stay() -> None:
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "local": 1]>
        g (float[4] x) => (float[4] y) { a = local.Twice(x)\n y = Neg(a) }
        <domain: "local", opset_import: ["": 17]> Twice (v) => (w) { w = Add(v, v) }"""
    )
    whole = uncut(partitioned(model))
    assert [(function.domain, function.name) for function in whole.functions] == [("local", "Twice")]
