"""One bundle for several shapes: a plan for each, the weights once, and the session picks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from mosaic_onnx import api
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.files.bundle import read_bundle
from tests.unit.pipeline.shaped_models import attention


def cnn() -> onnx.ModelProto:
    """Two convolutions over a batch of any size; 300 KB of weights."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32) * 0.1, name)
        for name, shape in (("w", (64, 3, 3, 3)), ("v", (128, 64, 3, 3)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "a"),
        helper.make_node("Relu", ["a"], ["b"], "b"),
        helper.make_node("Conv", ["b", "v"], ["c"], "c"),
        helper.make_node("GlobalAveragePool", ["c"], ["y"], "y"),
    ]
    given = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 12, 12])
    made = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 128, 1, 1])
    model = helper.make_model(helper.make_graph(nodes, "cnn", [given], [made], weights))
    model.ir_version = 8
    model.opset_import[0].version = 17
    return model


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    onnx.save(cnn(), folder / "cnn.onnx")
    api.compile(folder / "cnn.onnx", devices=["cpu"], input_shapes={"x": ((1, 4, 8), 3, 12, 12)}, cache=False)
    api.compile(
        folder / "cnn.onnx",
        devices=["cpu"],
        input_shapes={"x": (1, 3, 12, 12)},
        cache=False,
        output=folder / "one.mosaic",
    )
    return folder


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.bin"))


def test_every_shape_has_its_plan_and_the_weights_are_stored_once(compiled: Path) -> None:
    bundle = read_bundle(compiled / "cnn.mosaic")
    assert [one.input_specs[0].shape for one in (bundle, *bundle.shapes)] == [(n, 3, 12, 12) for n in (1, 4, 8)]
    assert all(one.plan.slices and one.profile.layers for one in (bundle, *bundle.shapes))
    weights = (compiled / "cnn.mosaic" / "slices" / "weights.bin").stat().st_size
    alone = (compiled / "one.mosaic" / "slices" / "weights.bin").stat().st_size
    assert weights <= alone * 1.02
    assert size_of(compiled / "cnn.mosaic") <= size_of(compiled / "one.mosaic") * 1.02


def test_the_session_picks_the_plan_by_what_it_is_fed(compiled: Path) -> None:
    reference = onnxruntime.InferenceSession(str(compiled / "cnn.onnx"), providers=["CPUExecutionProvider"])
    with api.load(compiled / "cnn.mosaic", trust=True) as session:
        assert session.inputs[0].shape == (None, 3, 12, 12)
        for count in (8, 1, 4):
            x = np.random.default_rng(count).standard_normal((count, 3, 12, 12)).astype(np.float32)
            wanted = reference.run(None, {"x": x})[0]
            np.testing.assert_allclose(session.run(x)["y"], wanted, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(session.run(["y"], {"x": x})[0], wanted, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(session.run_async(x).result()["y"], wanted, rtol=1e-4, atol=1e-5)


def test_another_shape_is_refused_with_the_flag_that_brings_it(compiled: Path) -> None:
    with api.load(compiled / "cnn.mosaic", trust=True) as session:
        with pytest.raises(ModelError, match=r"(?s)x:2,3,12,12: it takes x:1,3,12,12; x:4.*--input-shape"):
            session.run(np.zeros((2, 3, 12, 12), np.float32))
        with pytest.raises(ModelError, match="x is missing"):
            session.run({"z": np.zeros(1)})


def test_every_shape_is_verified_and_runs(compiled: Path, tmp_path: Path) -> None:
    report = api.verify(compiled / "cnn.mosaic", trust=True)
    assert report.passed
    assert len(report.outputs) == 3
    np.savez(tmp_path / "four.npz", x=np.ones((4, 3, 12, 12), np.float32))
    assert api.run(compiled / "cnn.mosaic", tmp_path / "four.npz", trust=True).outputs["y"].shape == (4, 128, 1, 1)
    assert api.verify(compiled / "cnn.mosaic", inputs=tmp_path / "four.npz", trust=True).passed


def test_the_manifest_says_how_to_compile_each(compiled: Path) -> None:
    manifest = json.loads((compiled / "cnn.mosaic" / "manifest.json").read_text())
    words = [manifest["replay"], *(one["replay"] for one in manifest["shapes"])]
    assert [each[each.index("--input-shape") + 1] for each in words] == [f"x:{n},3,12,12" for n in (1, 4, 8)]


@pytest.mark.slow
def test_a_transformer_with_lengths_that_two_inputs_share(tmp_path: Path) -> None:
    onnx.save(attention(), tmp_path / "bert.onnx")
    shapes = {"ids": (1, (32, 64, 128)), "mask": (1, (32, 64, 128))}
    bundle = api.compile(tmp_path / "bert.onnx", devices=["cpu"], input_shapes=shapes, cache=False)
    assert [one.input_specs[0].shape for one in (bundle, *bundle.shapes)] == [(1, 32), (1, 64), (1, 128)]
    report = api.verify(bundle)
    assert report.passed
    assert len(report.outputs) == 3
    one = {"ids": (1, 64), "mask": (1, 64)}
    alone = api.compile(
        tmp_path / "bert.onnx", devices=["cpu"], input_shapes=one, cache=False, output=tmp_path / "one.mosaic"
    )
    assert size_of(bundle.folder) <= size_of(alone.folder) * 1.02
    reference = onnxruntime.InferenceSession(str(tmp_path / "bert.onnx"), providers=["CPUExecutionProvider"])
    with api.load(bundle) as session:
        for length in (128, 32, 64):
            fed = {"ids": np.arange(length).reshape(1, -1) % 50, "mask": np.ones((1, length), np.float32)}
            np.testing.assert_allclose(session.run(fed)["y"], reference.run(None, fed)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [0, (1, 0)])
def test_a_size_of_zero_is_refused(compiled: Path, size: int | tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="is not positive"):
        api.compile_unwritten(
            compiled / "cnn.onnx", devices=["cpu"], input_shapes={"x": (size, 3, 12, 12)}, cache=False
        )


def test_inputs_of_one_shape_do_not_fit_several(compiled: Path) -> None:
    with pytest.raises(UsageError, match="inputs fits one set"):
        api.compile_unwritten(compiled / "cnn.onnx", inputs="x.npz", input_shapes={"x": ((1, 2), 3, 12, 12)})
    with pytest.raises(UsageError, match="only compile takes those"):
        api.profile(compiled / "cnn.onnx", devices=["cpu"], input_shapes={"x": ((1, 2), 3, 12, 12)})
