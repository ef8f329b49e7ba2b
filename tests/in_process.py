"""Checking, trial runs and finding devices in this process instead of a child, whose start costs ten times a node test.

The onnx package's own models are trusted. Where one of them crashes this process, pytest-xdist names its test.
"""

from __future__ import annotations

import json
import os
from typing import IO

import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.discovery import selection
from mosaic_onnx.loading import child, children


def run(job: str, text: str, said: IO[bytes], answer: IO[bytes], time_limit_s: float) -> int:
    """Answer a job as ``mosaic_onnx.loading.child`` does, without its limits."""
    folder = os.getcwd()
    try:
        found = child.JOBS[job](json.loads(text))
    except ModelError as error:
        found = {"error": error.message, "hint": error.hint}
    finally:
        os.chdir(folder)  # the check of a model goes to the model's folder
    answer.write(json.dumps(found).encode())
    return 0


def check_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the jobs of ``children.run_child`` run here, and the backends' code too."""
    monkeypatch.setattr(children, "_run", run)
    monkeypatch.setattr(selection, "isolated", dict)
