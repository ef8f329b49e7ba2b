"""The ten workloads: right in every layer, the same bytes for the same seed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.graph.layer_facts import known_shapes, node_facts
from mosaic_onnx.zoo import WORKLOADS, build, build_shapes
from mosaic_onnx.zoo.independent import NETWORKS
from mosaic_onnx.zoo.weights import ShapesOnly

PUBLISHED = {  # (GMAC, millions of convolution and fully connected parameters): reference "ten workloads" table
    "inception_v4": (12.254, 42.65),
    "mnasnet_1.0": (0.314, 4.37),
    "mnasnet_1.3": (0.526, 6.26),
    "mnasnet_0.5": (0.104, 2.21),
    "mobilenet_v2_1.0": (0.301, 3.49),
    "mobilenet_v2_1.3": (0.509, 5.37),
    "mobilenet_v2_1.4": (0.582, 6.09),
    "resnet_v2_152": (10.907, 60.12),
    "vgg16": (15.470, 138.36),
    "squeezenet": (0.777, 1.25),
}


def layer_of(node: onnx.NodeProto) -> str:
    return next(entry.value for entry in node.metadata_props if entry.key == "mosaic.layer")


def multiply_accumulates(model: onnx.ModelProto) -> int:
    shapes = known_shapes(model.graph)
    return sum(sum(node_facts(node, shapes).macs.values()) for node in model.graph.node)


def weight_count(model: onnx.ModelProto) -> int:
    """Weights and biases of convolutions and fully connected layers; norms left out."""
    named = {tensor.name: prod(tensor.dims) for tensor in model.graph.initializer}
    return sum(named[name] for node in model.graph.node if node.op_type in ("Conv", "Gemm") for name in node.input[1:])


@pytest.mark.parametrize("name", WORKLOADS)
def test_counts_are_the_published_ones(name: str) -> None:
    gmac, millions = PUBLISHED[name]
    model = build_shapes(name)
    assert multiply_accumulates(model) / 1e9 == pytest.approx(gmac, abs=6e-4)
    assert weight_count(model) / 1e6 == pytest.approx(millions, abs=6e-3)


@pytest.mark.parametrize("name", WORKLOADS)
def test_layer_count_is_the_papers_and_names_say_the_layer(name: str) -> None:
    nodes = build_shapes(name).graph.node
    layers = list(dict.fromkeys(layer_of(node) for node in nodes))
    assert layers == [f"L{number:02d}" for number in range(1, WORKLOADS[name].layer_count + 1)]
    assert all(node.name.startswith(layer_of(node) + "/") for node in nodes)
    assert len({node.name for node in nodes}) == len(nodes)


@pytest.mark.parametrize("name", WORKLOADS)
def test_stated_shapes_are_the_inferred_ones(name: str) -> None:
    stated = build_shapes(name)
    bare = onnx.ModelProto()
    bare.CopyFrom(stated)
    del bare.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(bare, strict_mode=True)
    assert known_shapes(inferred.graph) == known_shapes(stated.graph)


@pytest.mark.parametrize(
    ("name", "class_count"),
    [("inception_v4", 1001), ("mobilenet_v2_1.4", 1001), ("resnet_v2_152", 1001), ("vgg16", 1000)],
)
def test_one_tensor_crosses_every_layer_boundary(name: str, class_count: int) -> None:
    model = build_shapes(name)
    made = {name: layer_of(node) for node in model.graph.node for name in node.output}
    crossing = {
        (made[tensor], tensor)
        for node in model.graph.node
        for tensor in node.input
        if tensor in made and made[tensor] != layer_of(node)
    }
    assert max(Counter(layer for layer, _ in crossing).values()) == 1
    assert known_shapes(model.graph)[model.graph.output[0].name] == (1, class_count)


def test_stride_two_of_resnet_v2_is_in_the_last_unit_of_each_of_the_first_three_stages() -> None:
    padded = {layer_of(node) for node in build_shapes("resnet_v2_152").graph.node if node.op_type == "Pad"}
    assert padded == {"L01", "L04", "L12", "L48"}


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    first = build("squeezenet", seed=3).SerializeToString(deterministic=True)
    assert first == build("squeezenet", seed=3).SerializeToString(deterministic=True)
    assert first != build("squeezenet", seed=4).SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", ["squeezenet", "mobilenet_v2_1.0", "mnasnet_0.5"])
def test_it_passes_the_checker_and_runs(name: str) -> None:
    ort = pytest.importorskip("onnxruntime")
    model = build(name)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    (logits,) = session.run(None, {"input": image})
    assert logits.shape == (1, 1001)
    assert np.isfinite(logits).all()
    assert logits.std() > 1e-3


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="squeezenet"):
        build("squeezenot")


@pytest.mark.parametrize(
    ("name", "gmac", "millions"),
    [
        ("alexnet", 0.724, 60.97),
        ("googlenet", 1.583, 7.00),
        ("mobilenet_v1", 0.569, 4.22),
        ("resnet50", 3.858, 25.53),
    ],
)
def test_networks_that_others_measured_have_the_published_counts(name: str, gmac: float, millions: float) -> None:
    model = NETWORKS[name](ShapesOnly())
    assert multiply_accumulates(model) / 1e9 == pytest.approx(gmac, abs=6e-4)
    assert weight_count(model) / 1e6 == pytest.approx(millions, abs=6e-3)
    onnx.shape_inference.infer_shapes(model, strict_mode=True)


def test_the_example_writes_a_model_that_can_be_loaded(tmp_path: Path) -> None:
    script = Path(__file__).parents[3] / "examples" / "zoo.py"
    target = tmp_path / "new" / "squeezenet.onnx"
    done = subprocess.run(
        [sys.executable, str(script), "squeezenet", "-o", str(target)], capture_output=True, text=True, check=True
    )
    assert "65 nodes" in done.stdout
    onnx.checker.check_model(onnx.load(target))
