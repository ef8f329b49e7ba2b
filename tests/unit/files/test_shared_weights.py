"""The weights of a model that is being compiled lie in memory, once."""

from __future__ import annotations

import gc
import hashlib
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx.parser
import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.tensors import is_external
from mosaic_onnx.core.process.shared_folder import is_shared_folder
from mosaic_onnx.files import shared_weights
from mosaic_onnx.files.shared_weights import share_weights
from mosaic_onnx.verification.reference import Reference

X = np.linspace(-1, 1, 64, dtype=np.float32)[None]


@pytest.fixture(autouse=True)
def small_models_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_weights, "LEAST_BYTES", 1024)


def model() -> onnx.ModelProto:
    """A large and a small weight, and the large one once more under another name."""
    made = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[1, 64] x) => (float[1, 64] y) { a = MatMul(x, w)  b = MatMul(a, same)  y = Add(b, small) }""")
    w = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    for name, value in (("w", w), ("same", w), ("small", np.ones(64, np.float32))):
        made.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return made


def test_large_weights_move_and_the_model_computes_the_same() -> None:
    made = model()
    expected = Reference(made, "").run({"x": X}, ["y"])
    shared = share_weights(made, "")
    assert shared is not None
    assert is_shared_folder(str(shared.path))
    assert [is_external(tensor) for tensor in made.graph.initializer] == [True, True, False]
    np.testing.assert_array_equal(Reference(made, str(shared.path)).run({"x": X}, ["y"])["y"], expected["y"])


def test_equal_weights_take_their_bytes_once() -> None:
    shared = share_weights(model(), "")
    assert shared is not None
    assert sum(file.stat().st_size for file in shared.path.iterdir()) == 64 * 64 * 4


def test_weights_of_another_file_move_too(tmp_path: Path) -> None:
    onnx.save(model(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=1024)
    made = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    shared = share_weights(made, str(tmp_path))
    (tmp_path / "w.bin").unlink()
    assert shared is not None
    expected = Reference(model(), "").run({"x": X}, ["y"])
    np.testing.assert_array_equal(Reference(made, str(shared.path)).run({"x": X}, ["y"])["y"], expected["y"])


def test_many_weights_of_another_file_stay_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_weights, "MOST_COPIED_BYTES", 20_000)
    onnx.save(model(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=1024)
    assert share_weights(onnx.load(tmp_path / "m.onnx", load_external_data=False), str(tmp_path)) is None
    assert share_weights(model(), "") is not None


def test_the_file_goes_with_the_last_who_holds_it() -> None:
    shared = share_weights(model(), "")
    assert shared is not None
    path = shared.path
    assert path.is_dir()
    del shared
    gc.collect()
    assert not path.exists()


@pytest.mark.parametrize("limit", ["LEAST_BYTES", "MOST_BYTES"])
def test_few_weights_and_very_many_stay_where_they_are(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_weights, limit, 1 << 20 if limit == "LEAST_BYTES" else 4096)
    made = model()
    assert share_weights(made, "") is None
    assert made == model()


@pytest.mark.parametrize("error", [None, OSError(28, "No space left on device")])
def test_weights_stay_where_they_are_when_space_is_short(
    error: OSError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(path: Path) -> SimpleNamespace:
        if error is not None:
            raise error
        return SimpleNamespace(free=4 * 64 * 64 * 4)

    monkeypatch.setattr(shared_weights.shutil, "disk_usage", usage)
    made = model()
    assert share_weights(made, "") is None
    assert made == model()


def test_weights_go_to_the_temporary_folder_where_memory_for_files_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    real = shutil.disk_usage

    def usage(path: Path) -> object:
        return real(path) if path.is_relative_to(tmp_path) else SimpleNamespace(free=64 * 64 * 4)

    monkeypatch.setattr(shared_weights.shutil, "disk_usage", usage)
    shared = share_weights(model(), "")
    assert shared is not None
    assert shared.path.is_relative_to(tmp_path)


def test_the_digests_are_those_of_the_bytes_that_they_name(tmp_path: Path) -> None:
    made = model()
    made.graph.initializer.insert(1, onnx.numpy_helper.from_array(np.zeros((0, 3), np.float32), "empty"))
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((32, 64), np.float32), "last"))
    onnx.save(made, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    shared = share_weights(onnx.load(tmp_path / "m.onnx", load_external_data=False), str(tmp_path))
    assert shared is not None
    assert {source[0] for source in shared.digests} == {tmp_path / "w.bin", shared.path / "weights"}
    for (file, offset, length), digest in shared.digests.items():
        assert hashlib.sha256(file.read_bytes()[offset : offset + length]).digest() == digest


def test_external_data_that_ends_early_is_told(tmp_path: Path) -> None:
    onnx.save(model(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=1024)
    made = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    (tmp_path / "w.bin").write_bytes(bytes(100))
    with pytest.raises(ModelError, match="ends"):
        share_weights(made, str(tmp_path))
