"""A path or file that is no sound model file is refused by name, without waiting, unread where it is too large."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from onnx import helper

from mosaic_onnx.loading.model import Limits, open_model
from tests.hostile.attacks import (
    message,
    nested_branches,
    refuse,
    relu_model,
    save,
)


def test_the_model_that_the_attacks_are_built_from_is_sound(tmp_path: Path) -> None:
    assert open_model(save(relu_model(), tmp_path)).is_orderly


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path / "nothing.onnx", "nothing.onnx.*No such file")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    refuse(tmp_path, "is a folder")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    refuse(tmp_path / "pipe.onnx", "pipe.onnx.*not a regular file")


def test_a_device_is_refused() -> None:
    refuse(Path("/dev/zero"), "/dev/zero.*not a regular file")


def test_a_path_with_a_zero_byte_is_refused() -> None:
    refuse(Path("a\0b.onnx"), "cannot open")


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").symlink_to(tmp_path / "b.onnx")
    (tmp_path / "b.onnx").symlink_to(tmp_path / "a.onnx")
    refuse(tmp_path / "a.onnx", "a.onnx.*symbolic links")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"# this is not a model\n" * 9, "not an ONNX model"),
        (b"PK\x03\x04" + bytes(60), "not an ONNX model"),
        (b"\x08\x0a", "no graph"),
        (b"\xff" * 100, "not an ONNX model"),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refuse(path, words)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = save(relu_model(), tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    refuse(path, "truncated")


def test_a_file_over_the_size_cap_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)  # sparse: takes no disk
    refuse(path, "3221225472 bytes, more than")


def test_millions_of_empty_nodes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    header = onnx.ModelProto(ir_version=10, opset_import=[helper.make_opsetid("", 21)]).SerializeToString()
    path.write_bytes(header + message(7, message(1, b"") * 1_200_000))
    refuse(path, "more than 1000000 nodes")


def test_a_file_that_unfolds_in_memory_is_stopped_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a" + message(7, message(1, b"") * 4_000_000))
    refuse(path, "too large to be parsed|more than .* bytes|ended the child", Limits(memory_bytes=400 * 2**20))


def test_branches_nested_eighty_deep_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(nested_branches(80))
    refuse(path, "nested too deep")


def test_depth_is_limited_before_the_checker_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(nested_branches(20))
    refuse(path, "nested more than 10 deep", Limits(depth_count=10))


def test_a_model_in_the_current_folder_cannot_replace_our_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnx.py").write_text("raise SystemExit('a module beside the model was imported')")
    (tmp_path / "json.py").write_text("raise SystemExit('a module beside the model was imported')")
    monkeypatch.chdir(tmp_path)
    assert open_model(save(relu_model(), tmp_path)).is_orderly
