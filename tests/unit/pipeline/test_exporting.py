from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from mosaic_onnx import api
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.files.bundle import Bundle, read_bundle, write_bundle
from mosaic_onnx.pipeline.exporting import export_model, export_slices
from mosaic_onnx.rewriting.portable import least_runtime, needed_ir_version
from tests.unit.files.bundles import small_contents

OLD_RUNTIME = "1.18.0"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(small_contents(folder), folder / "small.mosaic")
    return read_bundle(folder / "small.mosaic")


def outputs_of(path: Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


@pytest.fixture
def inputs(bundle: Bundle) -> dict[str, np.ndarray]:
    return dict(api.bundle_inputs(bundle, None))


@pytest.fixture
def expected(bundle: Bundle, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return outputs_of(bundle.folder / "slices" / "uncut.onnx", inputs)


def test_one_file_alone_gives_the_model_s_outputs(
    bundle: Bundle, inputs: dict[str, np.ndarray], expected: list[np.ndarray], tmp_path: Path
) -> None:
    done = export_model(bundle, tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert done.files == (tmp_path / "m.onnx",)
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"), full_check=True)
    for given, wanted in zip(outputs_of(tmp_path / "m.onnx", inputs), expected, strict=True):
        np.testing.assert_array_equal(given, wanted)


def test_weights_beyond_the_limit_lie_in_one_file_beside_it(
    bundle: Bundle, inputs: dict[str, np.ndarray], expected: list[np.ndarray], tmp_path: Path
) -> None:
    done = export_model(bundle, tmp_path / "m.onnx", most_bytes=1000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert done.files == (tmp_path / "m.onnx", tmp_path / "m.onnx.data")
    for given, wanted in zip(outputs_of(tmp_path / "m.onnx", inputs), expected, strict=True):
        np.testing.assert_array_equal(given, wanted)


def test_the_ir_version_is_the_lowest_that_functions_need_unless_tags_are_kept(bundle: Bundle, tmp_path: Path) -> None:
    plain = export_model(bundle, tmp_path / "plain.onnx")
    tagged = export_model(bundle, tmp_path / "tagged.onnx", keep_tags=True)
    assert (plain.ir_version, tagged.ir_version) == (max(8, bundle.original().ir_version), 11)
    model = onnx.load(tmp_path / "plain.onnx")
    assert {function.name for function in model.functions if function.domain == "mosaic"} >= {"slice_000", "slice_001"}
    assert not model.configuration
    assert not any(node.device_configurations for node in model.graph.node)
    assert any(node.device_configurations for node in onnx.load(tmp_path / "tagged.onnx").graph.node)


def test_a_file_that_is_there_is_not_replaced(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists"):
        api.export(bundle, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"mine"
    api.export(bundle, tmp_path / "m.onnx", force=True)
    onnx.load(tmp_path / "m.onnx")


def test_a_folder_that_is_not_there_is_named_and_nothing_is_left(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        export_model(bundle, tmp_path / "absent" / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_slices_run_with_their_own_runner(
    bundle: Bundle, inputs: dict[str, np.ndarray], expected: list[np.ndarray], tmp_path: Path
) -> None:
    done = export_slices(bundle, tmp_path / "slices")
    names = [path.name for path in done.files]
    assert names == ["slice_000.onnx", "slice_001.onnx", "run_slices.cpp", "run_slices.py", "slices.json"]
    np.savez(tmp_path / "in.npz", allow_pickle=False, **inputs)
    command = [sys.executable, "slices/run_slices.py", "in.npz", "out.npz"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    subprocess.run(command[:2], cwd=tmp_path, check=True, capture_output=True, timeout=120)  # on zeros
    order = json.loads((tmp_path / "slices" / "slices.json").read_text())
    with np.load(tmp_path / "out.npz") as made:
        for one, wanted in zip(order["outputs"], expected, strict=True):
            np.testing.assert_array_equal(made[one["name"]], wanted)
    for name in names[2:4]:
        lines = (tmp_path / "slices" / name).read_text().splitlines()
        assert sum(bool(line.strip()) and not line.startswith("//") for line in lines) <= 50


def test_what_a_model_needs_raises_its_version() -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT4, [2])
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [value], [value]))
    assert needed_ir_version(model) == 10
    model.functions.add(name="f", domain="d")
    model.graph.ClearField("input")
    model.graph.ClearField("output")
    assert needed_ir_version(model) == 8
    model.functions[0].attribute_proto.add(name="a")
    assert needed_ir_version(model) == 9
    for ir_version, opset, least in ((8, 17, "1.18"), (9, 20, "1.18"), (10, 22, "1.21"), (11, 17, "1.23")):
        made = onnx.helper.make_model(model.graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
        made.ir_version = ir_version
        assert least_runtime(made) == least


@pytest.mark.slow
def test_the_file_runs_in_the_oldest_runtime_that_is_told(
    bundle: Bundle, inputs: dict[str, np.ndarray], expected: list[np.ndarray], tmp_path: Path
) -> None:
    """In an environment of its own, which needs a package index."""
    venv.create(tmp_path / "old", with_pip=True)
    python = tmp_path / "old" / "bin" / "python"
    wanted = [f"onnxruntime=={OLD_RUNTIME}", "numpy<2"]
    installed = subprocess.run([python, "-m", "pip", "install", "-q", *wanted], capture_output=True, check=False)
    if installed.returncode:
        pytest.skip(f"onnxruntime {OLD_RUNTIME} cannot be installed: {installed.stderr.decode()[-200:]}")
    export_model(bundle, tmp_path / "m.onnx")
    np.savez(tmp_path / "in.npz", allow_pickle=False, **inputs)
    script = (
        "import numpy, onnxruntime\n"
        "session = onnxruntime.InferenceSession('m.onnx', providers=['CPUExecutionProvider'])\n"
        "outputs = session.run(None, dict(numpy.load('in.npz')))\n"
        "numpy.savez('out.npz', *outputs)\n"
        "print(onnxruntime.__version__)\n"
    )
    done = subprocess.run([python, "-c", script], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert done.stdout.strip() == OLD_RUNTIME
    with np.load(tmp_path / "out.npz") as made:
        for number, output in enumerate(expected):
            np.testing.assert_allclose(made[f"arr_{number}"], output, rtol=1e-5, atol=1e-6)
