"""The command line on a machine that has the breaking device, with limits that a test can wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import onnx.parser
import pytest

from mosaic_onnx import cli
from mosaic_onnx.discovery import registry
from mosaic_onnx.isolation import backend as isolation_backend
from mosaic_onnx.isolation import process
from mosaic_onnx.profiling.measuring import worker
from mosaic_onnx.profiling.whole_plans import child

LIMIT_S = 12.0
MEMORY_BYTES = 1 << 30


@dataclass(frozen=True)
class Done:
    """The result of one command line."""

    exit_code: int
    stdout: str
    stderr: str


Mosaic = Callable[..., Done]


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short limits, and little memory for children."""
    for module, name in (
        (isolation_backend, "FIND_LIMIT_S"),
        (isolation_backend, "CLAIM_LIMIT_S"),
        (worker, "START_S"),
    ):
        monkeypatch.setattr(module, name, LIMIT_S)
    monkeypatch.setattr(isolation_backend, "CLOSE_LIMIT_S", LIMIT_S)
    monkeypatch.setattr(isolation_backend, "SLICE_LIMIT_S", LIMIT_S)
    monkeypatch.setattr(child, "LIMIT_S", LIMIT_S)
    monkeypatch.setattr(worker, "SLOWEST", 0.0)
    monkeypatch.setattr(process, "child_memory_bytes", lambda: MEMORY_BYTES)


@pytest.fixture
def flaky_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with ONNX Runtime's CPU and the breaking backend."""
    ort = EntryPoint("onnxruntime", "mosaic_onnx.backends.onnxruntime.backend:BACKEND", registry.GROUP)

    def load_flaky() -> Any:
        from tests.faults.flaky import BACKEND

        return BACKEND

    points = [ort, SimpleNamespace(name="flaky", load=load_flaky)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


@pytest.fixture
def mosaic(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: None,
    flaky_machine: None,
) -> Mosaic:
    """Runs ``mosaic-onnx`` in a folder of its own, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOSAIC_CACHE_DIR", str(tmp_path / "cache"))

    def run(*words: str) -> Done:
        capsys.readouterr()
        caplog.clear()
        code = cli.run(list(words))
        said = capsys.readouterr()
        return Done(code, said.out, said.err + caplog.text)  # without pytest, warnings go to stderr

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two layers."""
    made = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 17]>
        small (float[64] x) => (float[64] y) { [a] h = Sigmoid (x)  [b] y = Tanh (h) }""")
    path = tmp_path / "small.onnx"
    onnx.save(made, path)
    return path
