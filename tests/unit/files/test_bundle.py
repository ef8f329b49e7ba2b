"""Bundles: whole or not at all, the same bytes for the same contents, weights shared."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.files import bundle as bundle_module
from mosaic_onnx.files import in_place
from mosaic_onnx.files.bundle import read_bundle, refuse_target, write_bundle
from tests.unit.files.bundles import small_contents


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    contents = small_contents(tmp_path)
    write_bundle(contents, tmp_path / "small.mosaic")
    read = read_bundle(tmp_path / "small.mosaic")
    assert read.plan == contents.plan
    assert read.profile == contents.profile
    assert [device.name for device in read.devices] == ["cpu", "other"]
    assert [(one.inputs, one.outputs) for one in read.slices] == [(("x",), ("h",)), (("h",), ("y",))]
    assert (read.inputs, read.outputs) == (("x",), ("y",))
    assert read.manifest["replay"] == ["mosaic-onnx", "compile", "small.onnx"]


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.mosaic", "other.mosaic"):
        write_bundle(small_contents(tmp_path), tmp_path / name)
    assert digests(tmp_path / "one.mosaic") == digests(tmp_path / "other.mosaic")


def test_a_weight_is_written_once_however_many_models_name_it(tmp_path: Path) -> None:
    write_bundle(small_contents(tmp_path), tmp_path / "small.mosaic")
    slices = tmp_path / "small.mosaic" / "slices"
    assert (slices / "weights.bin").stat().st_size == 4096
    for name in ("000.onnx", "001.onnx", "uncut.onnx"):
        model = onnx.load(slices / name, load_external_data=False)
        large = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
        assert {entry.key: entry.value for entry in large.external_data}["location"] == "weights.bin"
        assert all(tensor.raw_data or tensor.float_data for tensor in model.graph.initializer if tensor.name == "k")


def test_any_runtime_runs_the_canonical_file(tmp_path: Path) -> None:
    write_bundle(small_contents(tmp_path), tmp_path / "small.mosaic")
    written = read_bundle(tmp_path / "small.mosaic")
    onnx.checker.check_model(os.fspath(written.model_path), full_check=True)
    session = ort.InferenceSession(written.model_path)
    x = np.arange(1024, dtype=np.float32)
    assert np.array_equal(session.run(None, {"x": x})[0], (x + np.float32(0.5)) * np.float32(0.5) * 2)


def test_a_bundle_is_not_replaced_without_being_told(tmp_path: Path) -> None:
    target = tmp_path / "small.mosaic"
    write_bundle(small_contents(tmp_path), target)
    before = digests(target)
    with pytest.raises(UsageError, match="exists"):
        write_bundle(small_contents(tmp_path), target)
    write_bundle(small_contents(tmp_path), target, force=True)
    assert digests(target) == before


def test_what_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "photos"
    target.mkdir()
    (target / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="is not a bundle"):
        write_bundle(small_contents(tmp_path), target, force=True)
    assert (target / "holiday.jpg").exists()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "model.onnx")


def test_an_interrupt_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = small_contents(tmp_path)

    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_module, "plan_to_json", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(contents, tmp_path / "small.mosaic")
    assert leftovers(tmp_path) == []


def test_an_interrupt_while_replacing_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = small_contents(tmp_path)
    target = tmp_path / "small.mosaic"
    write_bundle(contents, target)
    before = digests(target)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_module, "put_in_place", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(contents, target, force=True)
    assert digests(target) == before
    assert leftovers(tmp_path) == ["small.mosaic"]


def test_a_file_system_that_cannot_swap_folders_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, target = small_contents(tmp_path), tmp_path / "small.mosaic"
    write_bundle(contents, target)
    before = digests(target)
    monkeypatch.setattr(in_place, "_system_call", lambda: None)
    with pytest.raises(UsageError, match="cannot replace a folder in one step"):
        refuse_target(target, force=True)
    assert digests(target) == before
    assert leftovers(tmp_path) == ["small.mosaic"]


def test_a_swap_that_fails_after_all_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents, target = small_contents(tmp_path), tmp_path / "small.mosaic"
    write_bundle(contents, target)
    before = digests(target)
    monkeypatch.setattr(bundle_module, "can_exchange", lambda _: True)
    monkeypatch.setattr(in_place, "_system_call", lambda: None)
    with pytest.raises(UsageError, match=r"cannot write .*small\.mosaic"):
        write_bundle(contents, target, force=True)
    assert digests(target) == before
    assert leftovers(tmp_path) == ["small.mosaic"]


def test_a_missing_parent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        write_bundle(small_contents(tmp_path), tmp_path / "nowhere" / "small.mosaic")
