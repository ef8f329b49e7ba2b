"""The results that a compilation delivers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import onnx
import onnx.parser
import pytest

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import DeviceError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.discovery.selection import select
from mosaic_onnx.passes.base import Passes, run_pass, run_passes
from mosaic_onnx.passes.editing import find, instead, option_of, with_options
from mosaic_onnx.passes.measurement.measure_slices import MeasureSlices
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline import compilation
from mosaic_onnx.pipeline.compilation import compile_model
from mosaic_onnx.pipeline.pipelines import COMPILE
from mosaic_onnx.planner.core.request import Request

MODEL = """
    <ir_version: 9, opset_import: ["" : 17]>
    three (float[1,8] x) => (float[1,8] y) { [one] a = Sin (x) [two] b = Cos (a) [three] y = Abs (b) }"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "three.onnx")
    return tmp_path / "three.onnx"


@dataclass(frozen=True)
class StatedCosts:
    """A cost model in the place of measuring: so many seconds a layer."""

    name: ClassVar[str] = "profile"
    requires: ClassVar[tuple[str, ...]] = ("selection", "graph")
    ensures: ClassVar[tuple[str, ...]] = ("profile",)

    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, state: State) -> State:
        layers = tuple(
            ProfileLayer(
                one.name,
                one.inputs,
                one.outputs,
                {name: Cost(each_s) for name, each_s in self.seconds.items()},
                nodes=one.nodes,
            )
            for one in state.graph.layers
        )
        sizes = {name: tensor.bytes for name, tensor in state.graph.tensors.items()}
        chosen = state.selection.chosen
        profile = Profile("three", chosen, sizes, state.graph.inputs, state.graph.outputs, layers)
        return replace(state, profile=profile)


@dataclass(frozen=True)
class CrashingWhole:
    """Measure slices, but a device's slice of all layers crashes."""

    name: ClassVar[str] = "measure_slices"
    requires: ClassVar[tuple[str, ...]] = MeasureSlices.requires
    ensures: ClassVar[tuple[str, ...]] = MeasureSlices.ensures

    device: str = ""

    def __call__(self, state: State) -> State:
        whole = (0, len(state.graph.layers) - 1, self.device)
        wanted = tuple(one for one in state.wanted if one != whole)
        measured = run_pass(MeasureSlices(), replace(state, wanted=wanted)).measured
        crashed = {one: "it crashed" for one in state.wanted if one == whole}
        return replace(state, measured=replace(measured, reasons={**measured.reasons, **crashed}))


@pytest.mark.provider("openvino")
def test_a_device_that_runs_every_layer_but_not_the_whole_is_no_candidate(path: Path) -> None:
    passes = instead(COMPILE, "profile", StatedCosts({"cpu": 1.0, "openvino": 2.0}))
    rewrite = with_options(find(passes, "rewrite"), {"measure": CrashingWhole("openvino")})
    said: list[str] = []
    state = run_passes(instead(passes, "rewrite", rewrite), State(path, select(["cpu", "openvino"]), note=said.append))
    assert [one.name for one in state.candidates if not one.is_yardstick] == ["plan", "cpu"]
    assert "openvino alone is left out: it crashed" in said
    assert state.proof.passed


def test_the_partitioned_file_is_compared_with_the_model_bit_for_bit(path: Path) -> None:
    state = compile_model(path, select(["cpu"])).state
    assert [(check.tensor, check.verdict) for check in state.proof.canonical] == [("y", "equal")]


def test_a_partitioned_file_that_computes_something_else_fails_the_proof(path: Path) -> None:
    passes = COMPILE[:-1]
    state = run_passes(passes, State(path, select(["cpu"])))
    canonical = state.delivered.canonical
    assert canonical is not None
    wrong = onnx.ModelProto()
    wrong.CopyFrom(canonical.model)
    for function in wrong.functions:
        for node in function.node:
            if node.op_type == "Cos":
                node.op_type = "Sin"
    delivered = replace(state.delivered, partition=lambda plan: replace(canonical, model=wrong))
    proof = run_pass(COMPILE[-1], replace(state, delivered=delivered)).proof
    assert not proof.passed
    assert "the partitioned file computes y: " in proof.failures[0]


def test_planning_again_without_a_device_that_failed_has_what_is_left_of_the_time_limit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_s: list[float] = []

    def fail(passes: Passes, state: State) -> State:
        asked_s.append(option_of(passes, "request").time_limit_s)
        state.planning.spent_s += 4.0
        device = state.selection.chosen[-1].name
        raise DeviceError(f"device {device} is gone", device=device)

    monkeypatch.setattr(compilation, "run_passes", fail)
    selection = select(["cpu"])
    three = tuple(Device(name, backend="onnxruntime") for name in "abc")
    with pytest.raises(DeviceError, match="device c is gone"):
        compile_model(path, replace(selection, devices=three, chosen=three), request=Request(time_limit_s=10.0))
    assert asked_s == [10.0, 6.0, 2.0]
