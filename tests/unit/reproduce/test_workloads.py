"""Profiles of the workloads: what the product measures on described devices is what the reproduction plans with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from mosaic_onnx.backends.simulated.backend import BACKEND
from mosaic_onnx.files.device_file import read_shipped
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.loading.model import open_model
from mosaic_onnx.loading.normalise import normalise
from mosaic_onnx.profiling.profile_model import profile_model
from mosaic_onnx.reproduce.workloads import described_profile, highest_only, layered
from mosaic_onnx.zoo import WORKLOADS, build


@pytest.mark.parametrize("name", WORKLOADS)
def test_block_granularity_gives_the_papers_layers(name: str) -> None:
    assert len(layered(name).graph.layers) == WORKLOADS[name].layer_count


def test_profiling_the_real_file_says_what_the_counted_graph_says(tmp_path: Path) -> None:
    devices = [replace(one, options={**one.options, "switch_seconds": 1e-4}) for one in read_shipped("hikey970")]
    onnx.save_model(build("squeezenet"), tmp_path / "squeezenet.onnx")
    normalised = normalise(open_model(tmp_path / "squeezenet.onnx"))
    profile = profile_model(normalised, layerize(normalised, "block"), devices, {"simulated": BACKEND})
    described = described_profile(layered("squeezenet"), devices)
    for measured, said in zip(profile.layers, described.layers, strict=True):
        assert (measured.name, measured.inputs, measured.outputs) == (said.name, said.inputs, said.outputs)
        assert measured.cost == said.cost
        assert measured.activation_bytes == said.activation_bytes
    assert profile.copies == described.copies
    assert profile.switches == described.switches
    assert len(profile.switches) == 9 * 8 + 7 * 6 + 8 * 7


def test_highest_levels_alone_are_the_papers_four_states() -> None:
    states = [state for device in highest_only(read_shipped("hikey970")) for state in device.states]
    assert states == ["big@2362MHz", "little@1844MHz", "gpu@767MHz", "npu"]
