"""The documentation as a site: references hold everything that the code has, and the strict build passes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from docs.generator.commands import commands_page, every_command
from docs.generator.file_formats import files_page
from docs.generator.plan_picture import picture_of
from mosaic_onnx.cli.schemas import KINDS, schema_of
from mosaic_onnx.planning.profile_plan import plan_profile
from tests.unit.report.contents import HOSTILE, profile

ROOT = Path(__file__).parents[2]


def test_the_reference_has_every_command_and_option() -> None:
    page = commands_page()
    for words, command in every_command():
        assert f"\n## {words}\n" in page
        for one in command.params:
            for flag in one.opts:
                assert not flag.startswith("--") or getattr(one, "hidden", False) or flag in page


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_has_every_key_of_every_file(kind: str) -> None:
    page, schema = files_page(), schema_of(kind)
    assert f"\n## {kind}\n" in page
    for model in (schema, *schema.get("$defs", {}).values()):
        assert all(f"| `{key}` |" in page for key in model.get("properties", {}))


def test_the_picture_has_a_cell_for_each_layer_and_escapes_names() -> None:
    made = profile(second_name=HOSTILE)
    text = picture_of(made, plan_profile(made))
    assert text.count(" on cpu</title>") + text.count(" on gpu</title>") == len(made.layers)
    assert HOSTILE not in text


@pytest.mark.slow
def test_the_site_builds_with_strict_links(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (extra docs)")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    commands = (tmp_path / "site/reference/commands/index.html").read_text("utf-8")
    assert "mosaic-onnx compile" in commands
