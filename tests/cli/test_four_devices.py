"""The command line over four vendors' devices: compiled, run and verified."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.unit.backends.helpers import seeded_squeezenet

PINS = (
    "^n([0-9]|1[0-6])$=cpu",
    "^n(1[7-9]|2[0-9]|3[0-2])$=openvino",
    "^n(3[3-9]|4[0-9]|5[0-3])$=qnn",
    "^n(5[4-9]|6[0-9])$=webgpu",
)
"""Nodes are n0…n65 in the order in which they run; the pins leave four slices."""


def call(folder: Path, *words: str) -> str:
    command = [sys.executable, "-c", "from mosaic_onnx.cli import main; main()", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.provider("openvino")
@pytest.mark.provider("qnn")
@pytest.mark.provider("webgpu")
def test_one_bundle_holds_slices_of_four_vendors_and_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    onnx.save(seeded_squeezenet(64), tmp_path / "squeezenet.onnx")
    pins = [word for pin in PINS for word in ("--pin", pin)]
    call(tmp_path, "compile", "squeezenet.onnx", "-d", "cpu,openvino,qnn,webgpu", *pins, "--min-slices", "4")
    plan = json.loads((tmp_path / "squeezenet.mosaic" / "plan.json").read_text())
    assert [each["state"] for each in plan["slices"]] == ["cpu", "openvino", "qnn", "webgpu"]
    call(tmp_path, "verify", "squeezenet.mosaic")
    call(tmp_path, "run", "squeezenet.mosaic", "--random", "-o", "outputs.npz")
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert outputs["softmaxout_1"].shape == (1, 1000, 1, 1)
        assert abs(outputs["softmaxout_1"].sum() - 1) < 1e-3
