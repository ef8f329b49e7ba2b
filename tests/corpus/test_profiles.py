"""Every model of the corpus is profiled on ONNX Runtime's CPU and on OpenVINO: each layer gets a cost or a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mosaic_onnx.backends.base import Backend
from mosaic_onnx.core.devices import Device
from mosaic_onnx.discovery.registry import backends, find_all
from mosaic_onnx.files.profile_file import profile_from_json, profile_to_json
from mosaic_onnx.passes.layerize import layerize
from mosaic_onnx.passes.load import Load
from mosaic_onnx.passes.normalise import normalise
from mosaic_onnx.passes.profile import ProfileOptions, profile_model
from mosaic_onnx.profiling.device_profiler import Effort
from mosaic_onnx.profiling.measuring.timing import Budget

pytestmark = pytest.mark.corpus
QUICK = Effort(layer=Budget(0.001, 2, 20), stretch=Budget(0.01, 2, 20), alone_s=0.1)
FEW = ("mnist8", "micro_kws_qdq", "crop_resize_loop", "all_dtypes", "opset16_coverage")
"""Small models of unlike kinds, for every day; the rest is for `make test-all`."""


@pytest.fixture(scope="module")
def here() -> tuple[list[Device], dict[str, Backend]]:
    found = find_all().devices
    return [found[name] for name in ("cpu", "openvino") if name in found], dict(backends())


def check(path: Path, here: tuple[list[Device], dict[str, Backend]]) -> None:
    normalised = normalise(Load()(path))
    graph = layerize(normalised)
    profile = profile_model(normalised, graph, *here, ProfileOptions(effort=QUICK))
    assert [layer.name for layer in profile.layers] == [layer.name for layer in graph.layers]
    for layer in profile.layers:
        assert any(layer.cost.values()), f"{path.stem}: no device runs {layer.name}: {layer.reasons}"
        for state in profile.states:
            assert bool(layer.cost[state]) is (state not in layer.reasons), f"{path.stem}: {layer.name} on {state}"
        assert "interrupted" not in str(layer.reasons)
    assert profile_from_json(profile_to_json(profile)).states == profile.states


def models_that_run(shared: Path) -> list[Path]:
    catalogue = json.loads((shared / "models" / "catalog.json").read_text())
    names = [entry["name"] for entry in catalogue if entry["role"] == "run" and entry["name"] != "mobilenetv2_graph"]
    return [shared / "models" / f"{name}.onnx" for name in names]  # the one left out lacks its weights file


@pytest.mark.parametrize("name", FEW)
def test_a_model_is_profiled_on_both_runtimes(
    shared: Path, here: tuple[list[Device], dict[str, Backend]], name: str
) -> None:
    check(shared / "models" / f"{name}.onnx", here)


@pytest.mark.slow
def test_every_model_of_the_catalogue_is_profiled(shared: Path, here: tuple[list[Device], dict[str, Backend]]) -> None:
    paths = models_that_run(shared)
    assert len(paths) == 61
    for path in paths:
        check(path, here)


@pytest.mark.slow
def test_every_generated_model_is_profiled(shared: Path, here: tuple[list[Device], dict[str, Backend]]) -> None:
    paths = sorted((shared / "models" / "fuzz").glob("*.onnx"))
    assert len(paths) == 75
    for path in paths:
        check(path, here)
