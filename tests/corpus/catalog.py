"""Models by name: the corpus of the repository (``own/…``), and the shared one, which lies outside of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHARED
from tests.corpus.own import models as own

MODELS = SHARED / "models"
_CATALOG = MODELS / "catalog.json"
_ENTRIES = json.loads(_CATALOG.read_text()) if _CATALOG.is_file() else []
REAL = [entry["name"] for entry in _ENTRIES if entry["role"] == "run"]
NEGATIVE = [entry["name"] for entry in _ENTRIES if entry["role"] == "negative"] or ["negative"]
GENERATED = [f"fuzz/{path.stem}" for path in sorted((MODELS / "fuzz").glob("*.onnx"), key=lambda path: int(path.stem))]
OWN = list(own.SMALL)
OWN_FEW = ["own/attention", "own/dynamic", "own/loop", "own/quantised"]
"""A few of unlike kinds, for tests that take seconds a model."""


def outside(names: Iterable[str]) -> list[Any]:
    """Return test parameters that are skipped where the shared corpus is absent."""
    found = list(names)
    return [pytest.param(name, marks=pytest.mark.corpus) for name in found]


def every_model(quick: Sequence[str], own_quick: Sequence[str] = OWN, *, large: bool = True) -> list[Any]:
    """Return all models as test parameters, with the mark that says where each is tested.

    Args:
        quick: models of the shared corpus for `make test`; the rest of it is for `make test-corpus`.
        own_quick: models of the own corpus for `make test`; the rest of it is for `make test-all`.
        large: with the own corpus's large networks.
    """
    own_rest = [name for name in (own.BUILDERS if large else own.SMALL) if name not in own_quick]
    slow = [pytest.param(name, marks=pytest.mark.slow) for name in own_rest]
    rest = [name for name in [*REAL, *GENERATED] if name not in quick]
    whole = [pytest.param(name, marks=[pytest.mark.corpus, pytest.mark.whole_corpus]) for name in rest]
    return [*own_quick, *slow, *outside(quick), *whole]


def model_path(name: str, folder: Path) -> Path:
    """Return the model's file; own models, and the one whose weights are not in the corpus, are made in ``folder``."""
    if name in own.BUILDERS:
        return own.write(name, folder)
    path = MODELS / f"{name}.onnx"
    if name != "mobilenetv2_graph":
        return path
    made = folder / path.name
    shutil.copy(path, made)
    tool = SHARED / "tools" / "fill_weights.py"
    subprocess.run([sys.executable, str(tool), "ext", str(path), str(made)], check=True, capture_output=True)
    return made
