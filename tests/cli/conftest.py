"""A small model, and the command line as a function."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from mosaic_onnx import cli


@dataclass(frozen=True)
class Done:
    """The result of one command line."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        return json.loads(self.stdout)


Mosaic = Callable[..., Done]


@pytest.fixture
def mosaic(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mosaic:
    """Runs ``mosaic-onnx`` in a folder of its own, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOSAIC_CACHE_DIR", str(tmp_path / "cache"))

    def run(*words: str) -> Done:
        capsys.readouterr()
        code = cli.run(list(words))
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Six layers, weights seeded."""
    text = "".join(f"[fc{i}] h{i} = MatMul (t{i}, w{i})\n[act{i}] t{i + 1} = Sigmoid (h{i})\n" for i in range(3))
    made = onnx.parser.parse_model(f"""
        <ir_version: 9, opset_import: ["" : 17]>
        small (float[N, 8] t0) => (float[N, 8] t3) {{ {text} }}""")
    random = np.random.default_rng(0)
    for i in range(3):
        weights = random.normal(size=(8, 8)).astype(np.float32)
        made.graph.initializer.append(onnx.numpy_helper.from_array(weights, f"w{i}"))
    path = tmp_path / "small.onnx"
    onnx.save(made, path)
    return path
