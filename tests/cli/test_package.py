"""The shipped package: every tracked module is in the wheel, under the names that are imported."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("mosaic_onnx", "passes", "backends")


def tracked_modules() -> set[str]:
    """Import paths (as wheel members) of the tracked modules and data files of the package."""
    listed = subprocess.run(["git", "ls-files", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: what is tracked is unknown")
    paths = [PurePosixPath(line) for line in listed.stdout.splitlines()]
    wanted = [p for p in paths if p.suffix in {".py", ".toml", ".typed"} and (ROOT / p).is_file()]
    return {str(p if p.parts[0] == "mosaic_onnx" else PurePosixPath("mosaic_onnx") / p) for p in wanted}


def test_the_wheel_holds_every_tracked_module(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    members = set(zipfile.ZipFile(wheel).namelist())
    assert tracked_modules() - members == set()
    assert not [name for name in members if name.startswith(("passes/", "backends/", "tests/", "bench/"))]


def test_the_package_declares_its_types() -> None:
    assert (ROOT / "mosaic_onnx" / "py.typed").is_file()


def test_the_links_to_the_passes_and_backends_are_relative() -> None:
    for name in ("passes", "backends"):
        link = ROOT / "mosaic_onnx" / name
        assert link.is_symlink()
        assert link.readlink() == Path("..") / name
