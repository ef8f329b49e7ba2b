"""Every model is profiled on ONNX Runtime's CPU and on OpenVINO: each layer gets a cost or a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosaic_onnx.backends.base import Backend
from mosaic_onnx.core.devices import Device
from mosaic_onnx.discovery.registry import backends, find_all
from mosaic_onnx.files.profile_file import profile_from_json, profile_to_json
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.loading.model import open_model
from mosaic_onnx.loading.normalise import normalise
from mosaic_onnx.profiling.device_profiler import ProfilingEffort
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.profiling.profile_model import ProfileOptions, profile_model
from tests.corpus.catalog import OWN_FEW, every_model, model_path

LITTLE = ProfilingEffort(layer=TimeBudget(0.001, 2, 20), slice=TimeBudget(0.01, 2, 20), alone_s=0.1)
QUICK = ("mnist8", "micro_kws_qdq", "crop_resize_loop", "all_dtypes", "opset16_coverage")
"""Small models of unlike kinds."""


@pytest.fixture(scope="module")
def here() -> tuple[list[Device], dict[str, Backend]]:
    found = find_all().devices
    return [found[name] for name in ("cpu", "openvino") if name in found], dict(backends())


def check(path: Path, here: tuple[list[Device], dict[str, Backend]]) -> None:
    normalised = normalise(open_model(path))
    graph = layerize(normalised)
    profile = profile_model(normalised, graph, *here, ProfileOptions(effort=LITTLE))
    assert [layer.name for layer in profile.layers] == [layer.name for layer in graph.layers]
    for layer in profile.layers:
        assert any(layer.cost.values()), f"{path.stem}: no device runs {layer.name}: {layer.reasons}"
        for state in profile.states:
            assert bool(layer.cost[state]) is (state not in layer.reasons), f"{path.stem}: {layer.name} on {state}"
        assert "interrupted" not in str(layer.reasons)
    assert profile_from_json(profile_to_json(profile)).states == profile.states


@pytest.mark.parametrize("name", every_model(QUICK, OWN_FEW))
def test_a_model_is_profiled_on_both_runtimes(
    here: tuple[list[Device], dict[str, Backend]], name: str, tmp_path: Path
) -> None:
    check(model_path(name, tmp_path), here)
