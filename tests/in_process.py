"""Checking, trial runs and finding devices in this process instead of a child, whose start costs ten times a node test.

The onnx package's own models are trusted. Where one of them crashes this process, pytest-xdist names its test.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import cast

import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.discovery import selection
from mosaic_onnx.loading import child
from mosaic_onnx.loading.children import Children


def run(_: Children, job: str, request: Mapping[str, object], *limits: float) -> dict[str, object]:
    """Answer a job as ``mosaic_onnx.loading.child`` does, without its limits."""
    folder = os.getcwd()
    try:
        found = child.JOBS[job](request)
    except ModelError as error:
        found = {"error": error.message, "hint": error.hint}
    finally:
        os.chdir(folder)  # the check of a model goes to the model's folder
    return cast(dict[str, object], json.loads(json.dumps(found)))


def check_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the jobs of ``Children`` run here, and the backends' code too."""
    monkeypatch.setattr(Children, "run", run)
    monkeypatch.setattr(Children, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(Children, "close", lambda _: None)
    monkeypatch.setattr(selection, "isolated", dict)
