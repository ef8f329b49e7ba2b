from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.verification.precision.contributions import OUT_OF_TIME, ContributionMeter
from mosaic_onnx.verification.precision.disturbed import DisturbedModel
from mosaic_onnx.verification.precision.end_to_end_error import relative_error
from mosaic_onnx.verification.precision.samples import Samples, gather_samples
from mosaic_onnx.verification.reference import Reference
from tests.unit.verification.precision.rough import ROUGH, RoughBackend, chain_model, layers_of, normalised, rounded


def opened(model: onnx.ModelProto, folder: Path):  # type: ignore[no-untyped-def]
    ready = normalised(model, folder)
    samples = gather_samples(ready.model, ready.folder, make_inputs(ready.model))
    return ready, layers_of(ready), Samples(samples.runs[:2], samples.origin)


def test_moving_nothing_moves_nothing(tmp_path: Path) -> None:
    ready, graph, samples = opened(chain_model(), tmp_path)
    disturbed = DisturbedModel(ready.model, ready.folder, {"t1": graph.tensors["t1"]})
    inputs = samples.runs[0].inputs
    assert relative_error(disturbed.run(inputs)["y"], samples.runs[0].outputs["y"]) < 1e-6
    moved = disturbed.run(inputs, {"t1": np.ones((1, 16), np.float32)})
    assert relative_error(moved["y"], samples.runs[0].outputs["y"]) > 1e-3
    assert np.array_equal(disturbed.run(inputs)["y"], disturbed.run(inputs)["y"])


def test_a_layers_contribution_is_what_its_rounding_does_to_the_outputs(tmp_path: Path) -> None:
    """Held against a tail of the model that is run from the rounded tensor."""
    ready, graph, samples = opened(chain_model(3), tmp_path)
    found = ContributionMeter(ready, graph, samples).measure(ROUGH, RoughBackend(), range(3), 60.0)
    assert not found.reasons
    tensors = ["t1", "t2", "y"]
    for layer, name in enumerate(tensors):
        worst = 0.0
        for sample in samples.runs:
            exact = Reference(ready.model, ready.folder).run(sample.inputs, tensors)
            value = rounded(exact[name])
            for later in range(layer + 1, 3):
                weight = next(
                    onnx.numpy_helper.to_array(t) for t in ready.model.graph.initializer if t.name == f"w{later}"
                )
                value = value @ weight
            worst = max(worst, relative_error(value.astype(np.float32), sample.outputs["y"]))
        assert found.error[layer] == pytest.approx(worst, rel=1e-2)
        assert found.error[layer] > 1e-4


def test_a_layer_that_only_moves_data_adds_nothing(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[2,3] x) => (float[3,2] y) {
        a = Floor(x)  b = Transpose(a)  y = Relu(b) }"""
    ready, graph, samples = opened(parser.parse_model(text), tmp_path)
    layers = range(len(graph.layers))
    assert set(
        ContributionMeter(ready, graph, samples).measure(ROUGH, RoughBackend(), layers, 60.0).error.values()
    ) == {0.0}


def test_whole_numbers_that_change_are_not_measured_but_said(tmp_path: Path) -> None:
    class Shifting(RoughBackend):
        def load(self, model, device):  # type: ignore[no-untyped-def]
            runner = super().load(model, device)
            whole = runner.run
            runner.run = lambda inputs: {name: array + 1 for name, array in whole(inputs).items()}  # type: ignore[method-assign]
            return runner

    text = """<ir_version: 8, opset_import: ["": 17]> g (float[1,4] x) => (float[1,4] y) {
        i = Cast<to: int = 7>(x)  y = Cast<to: int = 1>(i) }"""
    ready, graph, samples = opened(parser.parse_model(text), tmp_path)
    found = ContributionMeter(ready, graph, samples).measure(ROUGH, Shifting(), range(len(graph.layers)), 60.0)
    assert "cannot be moved" in found.reasons[0]
    assert found.error[1] > 0


def test_layers_that_time_does_not_suffice_for_are_named(tmp_path: Path) -> None:
    ready, graph, samples = opened(chain_model(), tmp_path)
    found = ContributionMeter(ready, graph, samples).measure(ROUGH, RoughBackend(), range(4), 0.0)
    assert dict.fromkeys(range(4), OUT_OF_TIME) == found.reasons


def test_values_that_are_not_finite_break_any_budget(tmp_path: Path) -> None:
    class Overflowing(RoughBackend):
        def load(self, model, device):  # type: ignore[no-untyped-def]
            runner = super().load(model, device)
            whole = runner.run
            runner.run = lambda inputs: {name: array * np.float32(np.inf) for name, array in whole(inputs).items()}  # type: ignore[method-assign]
            return runner

    ready, graph, samples = opened(chain_model(), tmp_path)
    found = ContributionMeter(ready, graph, samples).measure(ROUGH, Overflowing(), [1], 60.0)
    assert "breaks any error budget" in found.reasons[1]
