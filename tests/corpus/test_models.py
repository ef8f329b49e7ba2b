"""Every model that runs opens, normalises and becomes layers; every negative one is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.loading.model import custom_operators, open_model, runtime_accepts
from mosaic_onnx.loading.normalise import normalise
from tests.corpus.catalog import MODELS, NEGATIVE, REAL, every_model, model_path, outside

QUICK = ["nhwc_qdq_conv", "silero_vad_op15", "llama_tiny_fp16_ext", "crop_resize_loop", "all_dtypes", "mnist8"]
"""Quantised, nested branches, unsorted with external data, loops, no inputs, old IR."""


def check_layers(graph: LayerGraph, node_count: int) -> None:
    """Every node in one layer, layers in a topological order, and so convex."""
    keys = [key for layer in graph.layers for key in layer.nodes]
    assert len(keys) == len(set(keys)) == node_count
    assert len({layer.name for layer in graph.layers}) == len(graph.layers)
    made = set(graph.inputs)
    for layer in graph.layers:
        assert set(layer.inputs) <= made, layer.name
        assert not set(layer.outputs) & made, layer.name
        made |= set(layer.outputs)
    assert set(graph.outputs) <= made


def sequences(graph: onnx.GraphProto) -> set[str]:
    """Values whose type is known and is not a tensor."""
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name for value in values if value.type.WhichOneof("value") not in (None, "tensor_type")}


def check_model(path: Path) -> None:
    opened = open_model(path)
    before = opened.model.SerializeToString()
    normalised = normalise(opened)
    outputs = {value.name for value in opened.model.graph.output}
    nodes = [node for node in normalised.model.graph.node if node.op_type != "Constant" or node.output[0] in outputs]
    for granularity in ("fused", "node", "block"):
        check_layers(layerize(normalised, granularity), len(nodes))
    typed = normalised.tensors.keys() | sequences(normalised.model.graph)
    untyped = [name for node in nodes for name in node.output if name and name not in typed]
    assert not untyped
    assert opened.model.SerializeToString() == before


@pytest.mark.parametrize("name", every_model(QUICK))
def test_a_model_becomes_layers(name: str, tmp_path: Path) -> None:
    check_model(model_path(name, tmp_path))


@pytest.mark.parametrize("name", outside(NEGATIVE))
def test_a_negative_model_is_refused_by_name(name: str) -> None:
    try:
        opened = open_model(MODELS / f"{name}.onnx")
    except ModelError as error:
        said = error.message
    else:
        said = f"{runtime_accepts(opened)} {custom_operators(opened.model)}"
    expected = {
        "mnist_opset1_neg": "Add(1) node with name 'Plus30'",
        "dscnn_int8conv_neg": "operator (Conv)",
        "glm_tiny_qmoe_ext": "pkg.nxrt::IndexShare",
        "opset01_coverage_neg": "batchnormalization",
        "opset22_coverage_neg": "RandomNormal(22)",
        "nested_if_loop_scan_neg": "Node (outer_if) Op (If)",
    }
    assert expected[name] in said


@pytest.mark.corpus
def test_the_catalogue_is_the_one_that_these_tests_know() -> None:
    catalogue = json.loads((MODELS / "catalog.json").read_text())
    assert len(REAL) + len(NEGATIVE) == len(catalogue)
