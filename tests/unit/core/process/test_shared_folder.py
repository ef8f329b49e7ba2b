"""Folders that parents share with children: none outlives its owner for longer than to the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mosaic_onnx.core.process.shared_folder import SharedFolder, remove_left_behind

ROOT = Path(__file__).parents[3]
OWNER = """
import sys, time
from mosaic_onnx.core.process.shared_folder import SharedFolder
folder = SharedFolder(sys.argv[1])
(folder.path / "tensors").write_bytes(bytes(1 << 20))
print(folder.path, flush=True)
time.sleep(600)
"""
posix = pytest.mark.skipif(os.name != "posix", reason="locks of folders are POSIX's")


def age(folder: Path) -> None:
    """Let a folder look old enough to be looked at."""
    old_s = time.time() - 3600
    os.utime(folder, (old_s, old_s))


@posix
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    words = [sys.executable, "-c", OWNER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as owner:
        assert owner.stdout is not None
        left = Path(owner.stdout.readline().decode().strip())
        age(left)
        remove_left_behind(tmp_path)
        assert left.exists()  # its owner lives
        owner.send_signal(signal.SIGKILL)
    age(left)
    mine = SharedFolder(str(tmp_path))
    assert not left.exists()
    assert mine.path.exists()


@posix
def test_a_folder_that_is_just_being_made_is_left_alone(tmp_path: Path) -> None:
    young = tmp_path / "mosaic-locked-young"
    young.mkdir()
    remove_left_behind(tmp_path)
    assert young.exists()
    age(young)
    remove_left_behind(tmp_path)
    assert not young.exists()


@posix
def test_a_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "mosaic-locked-link").symlink_to(precious)
    os.utime(tmp_path / "mosaic-locked-link", (0, 0), follow_symlinks=False)
    remove_left_behind(tmp_path)
    assert precious.exists()


def test_a_folder_goes_with_who_holds_it(tmp_path: Path) -> None:
    folder = SharedFolder(str(tmp_path))
    path = folder.path
    (path / "file").write_bytes(b"x")
    del folder
    assert not path.exists()
    other = SharedFolder(str(tmp_path))
    other.close()
    other.close()
    assert not other.path.exists()
