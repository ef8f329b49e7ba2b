"""Every command block of the documents is run, in order, in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?P<not_run><!-- not run: (?P<reason>.+?) -->\n)?```bash\n(?P<commands>.*?)```", re.DOTALL)
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def command_blocks(document: Path) -> list[str]:
    """The blocks that are to run; one that is not must say why in a comment before it."""
    return [m["commands"] for m in BLOCK.finditer(document.read_text("utf-8")) if not m["not_run"]]


WITH_BLOCKS = [document for document in DOCUMENTS if command_blocks(document)]


LONG = (
    "planner.md",
    "scenarios.md",
    "sessions.md",
    "npu.md",
    "cpp.md",
    "ci.md",
    "energy.md",
    "look.md",
    "getting-started.md",
)
"""Documents whose commands take more than ten seconds: their blocks run in `make test-all`."""


@pytest.mark.parametrize(
    "document",
    [pytest.param(each, marks=[pytest.mark.slow] if each.name in LONG else []) for each in WITH_BLOCKS],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_command_blocks_of_a_document_run(document: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MOSAIC_CACHE_DIR": str(tmp_path / "cache"),
        "MOSAIC_ROOT": str(ROOT),
        "NO_COLOR": "1",
    }
    script = "set -euo pipefail\n" + "\n".join(command_blocks(document))
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_no_document_hides_commands_in_another_kind_of_block() -> None:
    other = re.compile(r"^```(sh|shell|console|zsh)$", re.MULTILINE)
    assert [document.name for document in DOCUMENTS if other.search(document.read_text("utf-8"))] == []


def test_the_readme_has_command_blocks() -> None:
    assert command_blocks(ROOT / "README.md")
