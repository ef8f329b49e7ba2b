"""Real models cut into forced slices over real runtimes: loaded, run, verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mosaic_onnx.backends.base import Backend
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ONNX_RUNTIME
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.plans import Plan, Predicted, Schedule, Slice
from mosaic_onnx.core.profiles import Profile, ProfileLayer
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.loading.model import open_model
from mosaic_onnx.loading.normalise import Normalised, normalise
from mosaic_onnx.rewriting.rewrite import slice_models
from mosaic_onnx.runtime.executor import open_program
from mosaic_onnx.verification.report import VerifyReport
from mosaic_onnx.verification.verify import Verifiable, Verifier
from tests.corpus.own.models import write

DEVICES = {
    "cpu": Device("cpu", backend="onnxruntime", options={"threads": 1}),
    "openvino": Device("openvino", backend="openvino"),
    "openvino-bf16": Device("openvino-bf16", backend="openvino", precision="bf16"),
}


def backends() -> dict[str, Backend]:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install mosaic-onnx[openvino]")
    from mosaic_onnx.backends.openvino.backend import BACKEND as OPENVINO

    return {"onnxruntime": ONNX_RUNTIME, "openvino": OPENVINO}


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Normalised:
    """The onnx wheel's squeezenet with seeded weights."""
    return normalise(open_model(write("own/light_squeezenet", tmp_path_factory.mktemp("light"))))


def forced(normalised: Normalised, devices: Sequence[str], schedule: Schedule = "sequential") -> tuple[Profile, Plan]:
    """About equal numbers of layers for each of the devices, in turn."""
    graph = layerize(normalised)
    layers = tuple(ProfileLayer(each.name, each.inputs, each.outputs, nodes=each.nodes) for each in graph.layers)
    profile = Profile("m", tuple(DEVICES.values()), {}, graph.inputs, graph.outputs, layers)
    count = min(len(devices), len(layers))
    ends = np.linspace(0, len(layers), count + 1).round().astype(int).tolist()
    slices = tuple(Slice(tuple(range(ends[i], ends[i + 1])), devices[i]) for i in range(count))
    return profile, Plan("latency", schedule, "forced", slices, (), Predicted(0.0, None, 0.0))


def verified(normalised: Normalised, devices: Sequence[str], schedule: Schedule = "sequential") -> VerifyReport:
    profile, plan = forced(normalised, devices, schedule)
    slices = slice_models(normalised.model, normalised.folder, plan, profile)
    with open_program(slices, plan, DEVICES, backends(), inputs=profile.inputs, outputs=profile.outputs) as program:
        inputs = make_inputs(normalised.model)
        return Verifier()(Verifiable(normalised.model, normalised.folder, slices, program, DEVICES, inputs))


@pytest.mark.parametrize("schedule", ["sequential", "concurrent"])
@pytest.mark.parametrize(
    "devices",
    [("cpu",) * 3, ("cpu", "openvino", "cpu"), ("openvino", "cpu", "openvino"), ("cpu", "openvino-bf16", "cpu")],
    ids=",".join,
)
def test_squeezenet_in_three_slices_passes(
    squeezenet: Normalised, devices: tuple[str, ...], schedule: Schedule
) -> None:
    report = verified(squeezenet, devices, schedule)
    assert report.passed, report.failures
    assert len(report.slices) == 3
    assert {check.verdict for one in report.slices for check in one.cut} == {"equal"}
    assert not report.explained
    for one in report.slices:
        if one.device == "cpu":
            assert set(one.providers or {}) == {"CPUExecutionProvider"}


def test_unoptimised_slices_give_the_same_bits_as_the_uncut_model(squeezenet: Normalised) -> None:
    profile, plan = forced(squeezenet, ["cpu"] * 5)
    strict = {"cpu": Device("cpu", backend="onnxruntime", options={"threads": 1, "optimisation": "disabled"})}
    slices = slice_models(squeezenet.model, squeezenet.folder, plan, profile)
    with open_program(
        slices, plan, strict, {"onnxruntime": ONNX_RUNTIME}, inputs=profile.inputs, outputs=profile.outputs
    ) as program:
        inputs = make_inputs(squeezenet.model)
        report = Verifier()(Verifiable(squeezenet.model, squeezenet.folder, slices, program, strict, inputs))
    assert report.passed
    assert [check.verdict for check in report.outputs] == ["equal"]


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        ("silero_vad_v5", ("cpu", "cpu", "cpu")),
        ("silero_vad_v5", ("openvino", "cpu", "openvino")),
        ("loop_decoder", ("openvino", "cpu", "openvino")),
        ("squeezenet_fp16", ("cpu", "cpu", "cpu")),
        ("squeezenet_fp16", ("openvino", "cpu", "openvino")),
        ("micro_kws_qdq", ("cpu", "openvino", "cpu")),
        ("opset09_coverage", ("openvino", "cpu", "openvino")),
        ("gpt2_tiny_ort", ("cpu", "cpu", "cpu")),
    ],
)
def test_control_flow_half_precision_quantised_and_free_shapes_pass(
    shared: Path, name: str, devices: tuple[str, ...]
) -> None:
    report = verified(normalise(open_model(shared / "models" / f"{name}.onnx")), devices)
    assert report.passed, report.failures
