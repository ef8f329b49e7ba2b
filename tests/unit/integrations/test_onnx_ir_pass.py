"""A pass among onnx_ir's, with the real libraries around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnxruntime
import pytest

import mosaic_onnx
from mosaic_onnx.core.errors import InfeasibleError, ModelError, UsageError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile

onnx_ir = pytest.importorskip("onnx_ir", reason="pip install 'mosaic-onnx[dev]' brings onnx_ir")

from mosaic_onnx.integrations.onnx_ir_pass import PartitionPass  # noqa: E402

MODEL = """
    <ir_version: 10, opset_import: ["" : 21], metadata_props: ["made by": "hand"]>
    net (float[2,8] x) => (float[2,8] y) <float[8] w = {1, 2, 3, 4, 5, 6, 7, 8}>
    { [one] a = Sin (x)  [same] b = Identity (a)  [two] c = Mul (b, w)  [three] y = Abs (c) }"""
X = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)


def model() -> onnx.ModelProto:
    return onnx.parser.parse_model(MODEL)


def output(proto: onnx.ModelProto, folder: str = ".") -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X})[0]


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, Plan]:
    """A profile of the model, and a plan of two slices or more: where to cut is measured."""
    path = tmp_path_factory.mktemp("planned") / "net.onnx"
    onnx.save(model(), path)
    profile = mosaic_onnx.profile(path, devices=["cpu"], cache=False)
    return profile, mosaic_onnx.plan(profile, mosaic_onnx.Request(min_slice_count=2))


def slices(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node if node.domain == "mosaic"]


def test_a_model_is_cut_to_a_plan_and_the_given_one_stays(planned: tuple[Profile, Plan]) -> None:
    given = onnx_ir.from_proto(model())
    before = onnx_ir.to_proto(given).SerializeToString(deterministic=True)
    result = PartitionPass(*planned)(given)
    made = onnx_ir.to_proto(result.model)
    assert result.modified
    assert len(planned[1].slices) >= 2
    assert slices(made) == [f"slice_{index:03d}" for index in range(len(planned[1].slices))]
    assert onnx_ir.to_proto(given).SerializeToString(deterministic=True) == before
    assert np.array_equal(output(made), output(model()))


def test_names_types_and_metadata_are_kept(planned: tuple[Profile, Plan]) -> None:
    made = onnx_ir.to_proto(PartitionPass(*planned)(onnx_ir.from_proto(model())).model)
    assert made.graph.input == model().graph.input
    assert made.graph.output == model().graph.output
    assert {one.key: one.value for one in made.metadata_props}["made by"] == "hand"
    assert all(node.device_configurations for node in made.graph.node if node.op_type.startswith("slice_"))
    names = {node.name for function in made.functions for node in function.node}
    assert {"one", "same", "two", "three"} <= names


def test_a_partitioned_model_comes_out_as_it_went_in(planned: tuple[Profile, Plan]) -> None:
    once = PartitionPass(*planned)(onnx_ir.from_proto(model())).model
    again = PartitionPass(*planned)(once)
    assert not again.modified
    assert onnx_ir.to_proto(again.model) == onnx_ir.to_proto(once)


def test_a_plan_of_another_model_is_refused_by_name(planned: tuple[Profile, Plan]) -> None:
    other = onnx.parser.parse_model(MODEL.replace("[two]", "[other]"))
    with pytest.raises(ModelError, match="two"):
        PartitionPass(*planned)(onnx_ir.from_proto(other))


def test_a_plan_without_its_profile_is_refused(planned: tuple[Profile, Plan]) -> None:
    with pytest.raises(UsageError, match="a plan goes with the profile"):
        PartitionPass(plan=planned[1])


def test_it_stands_in_their_sequential_beside_onnxscript_and_onnxslim() -> None:
    pytest.importorskip("onnxscript")
    onnxslim = pytest.importorskip("onnxslim")
    from onnxscript.rewriter import RewritePass, pattern

    class Slim(onnx_ir.passes.FunctionalPass):
        def call(self, given: onnx_ir.Model) -> onnx_ir.passes.PassResult:
            return onnx_ir.passes.PassResult(onnx_ir.from_proto(onnxslim.slim(onnx_ir.to_proto(given))), True)

    rule = pattern.RewriteRule(lambda op, x: op.Abs(x), lambda op, x: op.Max(x, op.Neg(x)))
    request = mosaic_onnx.Request(min_slice_count=2)
    ours = PartitionPass(devices=["cpu"], cache=False, request=request)
    passes = onnx_ir.passes.Sequential(RewritePass([rule]), Slim(), ours)
    made = onnx_ir.to_proto(passes(onnx_ir.from_proto(model())).model)
    operators = {node.op_type for function in made.functions for node in function.node if function.name != "Transfer"}
    assert operators == {"Sin", "Mul", "Max", "Neg"}
    assert len(slices(made)) >= 2
    assert np.allclose(output(made), output(model()), atol=1e-6)


def test_external_data_stays_where_it_is(tmp_path: Path) -> None:
    raw = model()
    raw.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.arange(1, 9, dtype=np.float32), "w"))
    onnx.save(raw, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    given = onnx_ir.load(tmp_path / "net.onnx")
    made = PartitionPass(devices=["cpu"], cache=False)(given).model
    proto = onnx_ir.to_proto(made)
    assert [one.external_data[0].value for one in proto.graph.initializer] == ["net.data"]
    assert np.array_equal(made.graph.initializers["w"].const_value.numpy(), np.arange(1, 9, dtype=np.float32))
    assert np.array_equal(output(proto, str(tmp_path)), output(model()))


def test_what_cannot_be_planned_keeps_its_word() -> None:
    request = mosaic_onnx.Request(deadline_s=0.0)
    with pytest.raises(InfeasibleError):
        PartitionPass(devices=["cpu"], cache=False, request=request)(onnx_ir.from_proto(model()))
