"""CPU and CUDA plans of whole models: compiled, verified, and run where they say. Needs an NVIDIA GPU."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest

from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.discovery.selection import select
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.compilation import compile_model
from mosaic_onnx.pipeline.pipelines import PREPARE
from mosaic_onnx.zoo import build

pytestmark = pytest.mark.provider("cuda")


@pytest.mark.parametrize("name", ["squeezenet", "mnasnet_0.5", "mobilenet_v2_1.0"])
def test_cuda_and_the_cpu_share_a_model_and_compute_what_the_uncut_one_computes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(build(name), path)
    layers = run_passes(PREPARE, State(path)).graph.layers
    halves = layers[: len(layers) // 2], layers[len(layers) // 2 :]
    pins = tuple(
        (f"^{re.escape(layer.name)}$", device)
        for half, device in zip(halves, ("cuda", "cpu"), strict=True)
        for layer in half
    )
    constraints = Constraints(pins=pins)
    compiled = compile_model(path, select(["cpu", "cuda"]), constraints=constraints, fallback=False)
    assert {device_of(one.state) for one in compiled.plan.slices} == {"cpu", "cuda"}
    assert compiled.state.proof.passed


def test_cuda_takes_part_unasked(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(build("squeezenet"), path)
    compiled = compile_model(path, select())
    assert "cuda" in compiled.state.selection.by_name
    assert compiled.state.proof.passed
