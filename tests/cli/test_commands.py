"""The commands, from words to exit codes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from mosaic_onnx.files.seal import sealed
from tests.cli.conftest import Mosaic


@pytest.fixture
def bundle(mosaic: Mosaic, model: Path) -> Path:
    """Three slices on the CPU."""
    done = mosaic("compile", str(model), "-d", "cpu", "--min-slices", "3", "--input-shape", "t0:2,8", "-q")
    assert done.exit_code == 0, done.stderr
    return Path(done.stdout.strip())


def test_help_imports_nothing_heavy() -> None:
    heavy = ("numpy", "onnx", "onnxruntime", "openvino", "scipy", "pydantic", "mosaic_onnx.api")
    code = (
        "import sys; from mosaic_onnx import cli; cli.run(['--help']); "
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "compile" in done.stdout
    assert done.stderr.strip() == "[]"


def test_compile_writes_a_bundle_that_runs_and_is_right(mosaic: Mosaic, bundle: Path) -> None:
    ran = mosaic("run", str(bundle), "--iterations", "3", "-o", "outputs.npz")
    assert ran.exit_code == 0, ran.stderr
    assert np.load("outputs.npz")["t3"].shape == (2, 8)
    verified = mosaic("verify", str(bundle), "--json")
    assert verified.exit_code == 0
    assert verified.json["passed"] is True
    assert [each["device"] for each in verified.json["slices"]] == ["cpu"] * 3


def test_the_partitioned_file_gives_the_bits_of_the_model_in_stock_onnx_runtime(bundle: Path, model: Path) -> None:
    x = np.random.default_rng(3).normal(size=(2, 8)).astype(np.float32)
    onnx.checker.check_model(str(bundle / "model.onnx"), full_check=True)
    both = [
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"t0": x})[0]
        for path in (model, bundle / "model.onnx")
    ]
    assert np.array_equal(*both)


def test_the_same_compilation_gives_the_same_files(mosaic: Mosaic, model: Path) -> None:
    words = ("compile", str(model), "-d", "cpu", "--min-slices", "3", "--input-shape", "t0:2,8", "-q", "-o")
    digests = []
    for name in ("a.mosaic", "b.mosaic"):
        assert mosaic(*words, name).exit_code == 0
        files = sorted(path for path in Path(name).rglob("*") if path.is_file() and path.name != "manifest.json")
        digests.append({path.relative_to(name): hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert digests[0] == digests[1]


def test_defaults_of_a_dynamic_shape_are_said_aloud(mosaic: Mosaic, model: Path) -> None:
    done = mosaic("compile", str(model), "-d", "cpu", "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert "N" in done.stderr
    assert not model.with_suffix(".mosaic").exists()


def test_profile_and_plan_need_no_device_in_between(mosaic: Mosaic, model: Path) -> None:
    assert mosaic("profile", str(model), "-d", "cpu", "-o", "p.json", "-q").exit_code == 0
    done = mosaic("plan", "p.json", "--json")
    assert done.exit_code == 0
    assert done.json["schema"] == "mosaic-onnx/plan/1"
    assert done.json["predicted"]["seconds"] > 0


def test_an_output_that_is_there_is_not_replaced_without_force(mosaic: Mosaic, bundle: Path, model: Path) -> None:
    again = ("compile", str(model), "-d", "cpu", "-q")
    refused = mosaic(*again)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert mosaic(*again, "--force").exit_code == 0


def test_force_does_not_replace_a_folder_that_is_no_bundle(mosaic: Mosaic, model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    done = mosaic("compile", str(model), "-d", "cpu", "-q", "-o", "mine", "--force")
    assert done.exit_code == 2
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("compile", "absent.onnx"), 1, "absent.onnx"),
        (("run", "absent.mosaic"), 1, "absent.mosaic"),
        (("plan", "absent.json"), 1, "absent.json"),
        (("compile", "MODEL", "-d", "tpu9"), 2, "tpu9"),
        (("compile", "MODEL", "--input-shape", "t0:2,9", "-d", "cpu"), 2, "t0"),
        (("compile", "MODEL", "--objective", "beauty"), 2, "beauty"),
        (("compile", "MODEL", "-d", "cpu", "--pin", "fc0=gpu7"), 2, "gpu7"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_a_wrong_word_is_named_with_its_exit_code(
    mosaic: Mosaic, model: Path, words: tuple[str, ...], exit_code: int, said: str
) -> None:
    done = mosaic(*(str(model) if word == "MODEL" else word for word in words))
    assert (done.exit_code, said in done.stderr) == (exit_code, True), done.stderr


def test_constraints_that_nothing_satisfies_end_with_three_and_the_conflict(mosaic: Mosaic, model: Path) -> None:
    done = mosaic("compile", str(model), "-d", "cpu", "--forbid", "fc1=cpu", "-q")
    assert done.exit_code == 3
    assert "fc1" in done.stderr


def test_an_error_is_a_json_object_too(mosaic: Mosaic) -> None:
    done = mosaic("run", "absent.mosaic", "--json")
    assert done.json["schema"] == "mosaic-onnx/error/1"
    assert done.json["exit_code"] == done.exit_code == 1


def test_inputs_of_the_wrong_shape_are_named(mosaic: Mosaic, bundle: Path) -> None:
    np.savez("wrong.npz", t0=np.zeros((2, 9), np.float32))
    done = mosaic("run", str(bundle), "--inputs", "wrong.npz")
    assert done.exit_code == 1
    assert "t0" in done.stderr


def test_a_bundle_that_was_changed_is_refused(mosaic: Mosaic, bundle: Path) -> None:
    weights = bundle / "slices" / "000.onnx"
    weights.write_bytes(weights.read_bytes() + b" ")
    done = mosaic("run", str(bundle))
    assert done.exit_code == 1
    assert "000.onnx" in done.stderr


def test_a_slice_that_computes_something_else_is_found(mosaic: Mosaic, bundle: Path) -> None:
    path = bundle / "slices" / "000.onnx"
    other = onnx.load(path, load_external_data=False)
    (swapped,) = [node for node in other.graph.node if node.op_type == "Sigmoid"][:1]
    swapped.op_type = "Tanh"
    path.write_bytes(other.SerializeToString())
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["slices/000.onnx"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(sealed(manifest)))
    done = mosaic("verify", str(bundle))
    assert done.exit_code == 4
    assert "slice 0" in done.stderr


def test_an_interrupted_profile_keeps_what_was_measured(
    mosaic: Mosaic, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mosaic_onnx.api.profiling.run_passes", interrupt)
    done = mosaic("profile", str(model), "-d", "cpu")
    assert done.exit_code == 130
    assert "kept" in done.stderr


def test_the_cache_can_be_found_and_emptied(mosaic: Mosaic, model: Path, tmp_path: Path) -> None:
    assert mosaic("cache", "dir").stdout.strip() == str(tmp_path / "cache")
    mosaic("profile", str(model), "-d", "cpu", "-o", "p.json", "-q")
    assert mosaic("cache", "clean", "--json").json["entry_count"] > 0
    assert mosaic("cache", "clean", "--json").json["entry_count"] == 0


def test_devices_are_listed_with_what_is_absent_and_why(mosaic: Mosaic) -> None:
    done = mosaic("devices", "--json")
    assert "cpu" in [device["name"] for device in done.json["devices"]]
    assert "cpu" in done.json["default"]
    assert all(absent["reason"] for absent in done.json["absent"])


def test_devices_written_to_a_file_can_be_named_again(mosaic: Mosaic, model: Path) -> None:
    assert mosaic("devices", "-d", "cpu", "--write", "mine.toml").exit_code == 0
    assert mosaic("inspect", str(model), "-d", "mine.toml").exit_code == 0


def test_inspect_says_what_crosses_each_boundary(mosaic: Mosaic, model: Path) -> None:
    seen = mosaic("inspect", str(model), "-d", "cpu", "--granularity", "node", "--json").json
    assert [layer["crossing"] for layer in seen["layers"]] == [["h0"], ["t1"], ["h1"], ["t2"], ["h2"], ["t3"]]
