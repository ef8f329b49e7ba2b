"""Plans for stock ONNX Runtime: annotated nodes and the session option."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from mosaic_onnx.cli import run
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.files.plan_file import write_plan
from mosaic_onnx.files.profile_file import write_profile
from mosaic_onnx.rewriting.assignment import SETTINGS_KEY, assigned_model

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[4] x, bool c) => (float[4] y) {
    [k] two = Constant <value = float {2.0}> ()
    [a] h = Relu (x)
    [b] m = Mul (h, two)
    [i] y = If (c) <then_branch = t () => (float[4] u) { [ti] u = Neg (m) },
                    else_branch = e () => (float[4] v) { [ei] v = Abs (m) }>
}"""


def parts() -> tuple[onnx.ModelProto, Profile, Plan]:
    costs = {"gpu0": Cost(1.0), "cpu": Cost(2.0)}
    layers = (
        ProfileLayer("first", ("x",), ("h",), costs, nodes=("a",)),
        ProfileLayer("second", ("h", "c"), ("y",), costs, nodes=("b", "i")),
    )
    tensors = {"x": 16, "c": 1, "h": 16, "y": 16}
    profile = Profile("g", (Device("gpu0"), Device("cpu")), tensors, ("x", "c"), ("y",), layers)
    slices = (Slice((0,), "cpu", nodes=("a",)), Slice((1,), "gpu0", nodes=("b", "i")))
    plan = Plan("latency", "sequential", "test", slices, (), Predicted(3.0, None, 2.0))
    return onnx.parser.parse_model(TEXT), profile, plan


def annotation(node: onnx.NodeProto) -> str:
    return next((entry.value for entry in node.metadata_props if entry.key == "layer_ann"), "")


def test_every_node_says_its_device_and_constants_follow_their_reader() -> None:
    made, settings = assigned_model(*parts())
    assert {node.name: annotation(node) for node in made.graph.node} == {
        "k": "gpu0",
        "a": "cpu",
        "b": "gpu0",
        "i": "gpu0",
    }
    bodies = [node for attribute in made.graph.node[3].attribute for node in attribute.g.node]
    assert [annotation(node) for node in bodies] == ["gpu0", "gpu0"]
    assert settings == "gpu(=gpu0);cpu(=cpu)"
    onnx.checker.check_model(made)


def test_the_model_itself_is_left_as_it_is() -> None:
    model, profile, plan = parts()
    before = model.SerializeToString(deterministic=True)
    assigned_model(model, profile, plan)
    assert model.SerializeToString(deterministic=True) == before


def test_a_plan_of_another_model_is_refused() -> None:
    model, profile, plan = parts()
    model.graph.node[1].name = "other"
    with pytest.raises(ModelError, match="names node 'a'"):
        assigned_model(model, profile, plan)


def test_stock_onnx_runtime_takes_the_model_with_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine without a GPU, ONNX Runtime skips the GPU's rule with a message and runs all on the CPU."""
    monkeypatch.chdir(tmp_path)
    model, profile, plan = parts()
    onnx.save(model, "g.onnx")
    write_profile(profile, "p.json")
    write_plan(plan, "plan.json")
    words = ["annotate", "g.onnx", "--profile", "p.json", "--plan", "plan.json", "-o", "tagged.onnx"]
    assert run(words) == 0
    settings = capsys.readouterr().out.strip().splitlines()[-1]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(SETTINGS_KEY, settings)
    session = onnxruntime.InferenceSession("tagged.onnx", options, providers=["CPUExecutionProvider"])
    feeds = {"x": np.array([-1, 0, 1, 2], dtype=np.float32), "c": np.array(True)}
    assert session.run(None, feeds)[0].tolist() == [0, 0, -2, -4]
    options.add_session_config_entry(SETTINGS_KEY, "gpu(=gpu0")  # it is read: a wrong value is refused
    with pytest.raises(Exception, match="layering config"):
        onnxruntime.InferenceSession("tagged.onnx", options, providers=["CPUExecutionProvider"])
    assert run(words) == 2  # never overwrites unasked
