"""The shared corpus by name; all tests of this folder are skipped with a word where it is absent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import SHARED

MODELS = SHARED / "models"
_CATALOG = MODELS / "catalog.json"
_ENTRIES = json.loads(_CATALOG.read_text()) if _CATALOG.is_file() else []
REAL = [entry["name"] for entry in _ENTRIES if entry["role"] == "run"]
NEGATIVE = [entry["name"] for entry in _ENTRIES if entry["role"] == "negative"]


def model_path(name: str, folder: Path) -> Path:
    """The model's file; the one whose weights are not in the corpus is given seeded ones, in ``folder``."""
    path = MODELS / f"{name}.onnx"
    if name != "mobilenetv2_graph":
        return path
    made = folder / path.name
    shutil.copy(path, made)
    tool = SHARED / "tools" / "fill_weights.py"
    subprocess.run([sys.executable, str(tool), "ext", str(path), str(made)], check=True, capture_output=True)
    return made
