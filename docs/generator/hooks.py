"""MkDocs hooks: the generated reference pages, and links that leave the documentation for the source."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # MkDocs loads hooks by path, outside of any package

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

from docs.generator.commands import commands_page
from docs.generator.file_formats import files_page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>(?:\.\./)+[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")
GENERATED = {"reference/commands.md": commands_page, "reference/files.md": files_page}


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    for path, page in GENERATED.items():
        files.append(File.generated(config, path, content=page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Show links to the source as its path; the site has no copy of the source.

    Raises:
        PluginError: such a link leads nowhere.
    """
    folder = (ROOT / "docs" / page.file.src_path).parent

    def shown(link: re.Match[str]) -> str:
        target = (folder / link["target"]).resolve()
        if not target.exists():
            raise PluginError(f"{page.file.src_path}: {link['target']} is not there")
        if target.is_relative_to(ROOT / "docs"):
            return link[0]
        path = f"`{target.relative_to(ROOT)}`"
        return path if link["text"].strip("`") in path else f"{link['text']} ({path})"

    return LINK.sub(shown, markdown)
