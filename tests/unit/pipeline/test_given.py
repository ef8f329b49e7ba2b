"""Plan anywhere, compile here: a profile or a plan from elsewhere in the place of measuring and searching."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from mosaic_onnx import api
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.files.plan_file import write_plan
from mosaic_onnx.files.profile_file import write_profile
from mosaic_onnx.planner.core.request import Request

TEXT = """<ir_version: 8, opset_import: ["": 17]>
g (float[1, 8] x) => (float[1, 8] y) { [a] h = Relu(x)  [b] i = Exp(h)  [c] y = Neg(i) }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(parser.parse_model(TEXT), path)
    return path


def profile_of(seconds: dict[str, tuple[float, float, float]]) -> Profile:
    """Three layers a, b, c with these seconds by device."""
    devices = tuple(Device(name) for name in seconds)
    names = ("x", "h", "i", "y")
    layers = tuple(
        ProfileLayer(node, (names[at],), (names[at + 1],), {d: Cost(s[at]) for d, s in seconds.items()}, nodes=(node,))
        for at, node in enumerate("abc")
    )
    return Profile("m", devices, dict.fromkeys(names, 32), ("x",), ("y",), layers)


def plan_on(*states: str) -> Plan:
    slices = tuple(Slice((at,), state) for at, state in enumerate(states))
    return Plan("latency", "sequential", "by hand", slices, (), Predicted(1.0, None, 1.0))


TWO = profile_of({"cpu": (1e-3, 3e-3, 1e-3), "openvino": (2e-3, 1e-3, 2e-3)})


def first_layer_of(nodes: tuple[str, ...]) -> Profile:
    return replace(TWO, layers=(replace(TWO.layers[0], nodes=nodes), *TWO.layers[1:]))


def test_profile_and_plan_make_a_bundle_without_measuring(model: Path, tmp_path: Path) -> None:
    write_profile(TWO, tmp_path / "p.json")
    write_plan(plan_on("cpu", "openvino", "cpu"), tmp_path / "q.json")
    notes: list[str] = []
    bundle = api.compile(
        model, given_profile=tmp_path / "p.json", given_plan=tmp_path / "q.json", cache=False, note=notes.append
    )
    assert [one.state for one in bundle.plan.slices] == ["cpu", "openvino", "cpu"]
    assert bundle.plan.predicted.seconds == pytest.approx(3e-3)  # the simulator's word, not the file's
    assert bundle.manifest["measured"]["reason"] == "the plan was given (not measured)"
    assert "median_s" not in bundle.manifest["measured"]
    assert bundle.manifest["replay"][5:9] == ["--profile", "p.json", "--plan", "q.json"]
    assert any("not measured against single devices" in note for note in notes)
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 8)
    np.testing.assert_allclose(api.run(bundle, x).outputs["y"], -np.exp(np.maximum(x, 0)), rtol=1e-6)


def test_a_given_profile_is_planned_and_then_measured(model: Path) -> None:
    bundle = api.compile(
        model, given_profile=TWO, cache=False, request=Request(min_slice_count=3), devices=["cpu", "openvino"]
    )
    assert len(bundle.plan.slices) == 3
    assert bundle.manifest["measured"]["median_s"]


def test_devices_that_are_not_here_are_left_out_of_a_given_profile(model: Path) -> None:
    strange = profile_of({"cpu": (1e-3,) * 3, "far_away_npu": (1e-6,) * 3})
    notes: list[str] = []
    bundle = api.compile(model, given_profile=strange, cache=False, devices=["cpu"], note=notes.append)
    assert {one.state for one in bundle.plan.slices} == {"cpu"}
    assert "left out of the profile, not here: far_away_npu" in notes


@pytest.mark.parametrize(
    ("profile", "plan", "error", "words"),
    [
        (profile_of({"npu": (1.0,) * 3}), None, UsageError, "no device of the profile is here: npu"),
        (
            replace(TWO, layers=(replace(TWO.layers[0], nodes=("z",)), *TWO.layers[1:])),
            None,
            ModelError,
            "names node 'z'",
        ),
        (replace(TWO, layers=(replace(TWO.layers[0], nodes=()), *TWO.layers[1:])), None, ModelError, "names no nodes"),
        (TWO, plan_on("cpu", "cpu"), ModelError, "do not cover the 3 layers"),
        (TWO, plan_on("cpu", "gpu", "cpu"), UsageError, "slice 1 on gpu, which is not here"),
        (
            TWO,
            replace(plan_on("cpu"), slices=(Slice((0, 1, 2), "cpu", nodes=("a", "b", "z")),)),
            ModelError,
            "slice 0 of the plan has other nodes",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    model: Path, profile: Profile, plan: Plan | None, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        api.compile_unwritten(model, given_profile=profile, given_plan=plan, cache=False, devices=["cpu", "openvino"])


def test_a_given_plan_excludes_a_search_within_a_budget(model: Path) -> None:
    with pytest.raises(UsageError, match="max-error"):
        api.compile_unwritten(model, given_profile=TWO, given_plan=plan_on("cpu"), request=Request(max_error=0.1))
