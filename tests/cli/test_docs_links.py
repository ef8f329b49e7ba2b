"""Every relative link of the documents leads somewhere, and their Python blocks are Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:|#)(?P<target>[^)#\s]+)(?:#[^)\s]*)?\)")
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
GENERATED = {"docs/reference/commands.md", "docs/reference/files.md"}
DOCUMENTS = sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)
    targets = [(document.parent / one["target"]).resolve() for one in LINK.finditer(text)]
    missing = [one for one in targets if not one.exists() and str(one.relative_to(ROOT)) not in GENERATED]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_of_a_document_parses_and_its_imports_of_ours_exist(document: Path) -> None:
    for block in PYTHON.findall(document.read_text("utf-8")):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mosaic_onnx"):
                module = __import__(node.module, fromlist=[name.name for name in node.names])
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []
