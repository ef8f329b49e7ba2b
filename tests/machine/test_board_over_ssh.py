"""A board over ssh, from profile to run: measured there, planned here, and the bundle's slices run there.

The board is this machine, behind a real sshd on the loopback address; its Python is this one, or the one that
``MOSAIC_BOARD_PYTHON`` names.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Mosaic
from tests.machine.ssh import ROOT_ONLY, ssh_client, ssh_stand_in, sshd

__all__ = ["ssh_client", "ssh_stand_in", "sshd"]


def described(folder: Path, host: str) -> str:
    """Write the entries of a core of the board and one of this machine."""
    file = folder / "devices.toml"
    file.write_text(f"""
schema = "mosaic-onnx/devices/1"
[[devices]]
name = "board"
backend = "onnxruntime"
host = "{host}"
options = {{ threads = 1 }}
[[devices]]
name = "here"
backend = "onnxruntime"
options = {{ threads = 1 }}
""")
    return str(file)


def form(value: Any) -> Any:
    """Return the keys of nested objects, without their values; entries of other machines' facts left out."""
    if isinstance(value, dict):
        left_out = ("other_machines", "notes", "host", "reasons")
        return {key: form(each) for key, each in sorted(value.items()) if key not in left_out}
    return [form(value[0])] if isinstance(value, list) and value else type(value).__name__


@ROOT_ONLY
def test_a_plan_made_here_runs_on_the_board(
    sshd: str, ssh_client: None, model: Path, mosaic: Mosaic, tmp_path: Path
) -> None:
    devices = described(tmp_path, sshd)
    for words in (
        ("profile", str(model), "-d", devices, "-o", "both.json"),
        ("plan", "both.json", "--pin", "a|b=board", "--pin", "c|y=here", "-o", "plan.json"),
        ("compile", str(model), "-d", devices, "--profile", "both.json", "--plan", "plan.json", "-o", "both.mosaic"),
        ("run", "both.mosaic", "-d", devices, "--iterations", "1", "--validate", "-o", "outputs.npz"),
        ("verify", "both.mosaic", "-d", devices),
    ):
        done = mosaic(*words)
        assert done.exit_code == 0, done.stderr
    plan = json.loads(Path("plan.json").read_text())
    assert [one["state"] for one in plan["slices"]] == ["board", "here"]
    profile = json.loads(Path("both.json").read_text())
    assert profile["meta"]["other_machines"]["board"]["fingerprint"]["core_count"] >= 1
    layer = profile["layers"][0]
    assert form(layer["cost"]["board"]) == form(layer["cost"]["here"])
    with np.load("outputs.npz") as outputs:
        assert outputs["y"].shape == (1, 4, 8, 8)


def test_a_board_that_cannot_be_reached_is_refused_before_anything_is_measured(
    model: Path, mosaic: Mosaic, tmp_path: Path
) -> None:
    devices = described(tmp_path, "ssh://nobody@127.0.0.1:1")
    done = mosaic("compile", str(model), "-d", devices)
    assert done.exit_code == 5
    assert "device board on 127.0.0.1: crashed its process (exit code 255)" in done.stderr
    assert "try: ssh nobody@127.0.0.1 python3 -c 'import mosaic_onnx, onnxruntime, onnx'" in done.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_a_bundle_never_reaches_another_machine_that_the_user_did_not_name(
    ssh_stand_in: Path, model: Path, mosaic: Mosaic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = described(tmp_path, f"ssh://board{sys.executable}")
    done = mosaic("compile", str(model), "-d", devices, "--pin", ".*=board", "--no-cache")
    assert done.exit_code == 0, done.stderr
    bundle = str(model.with_suffix(".mosaic"))
    refused = mosaic("run", bundle)
    assert refused.exit_code == 2
    assert "device board belongs to another machine" in refused.stderr
    assert mosaic("run", bundle, "-d", devices, "--iterations", "1").exit_code == 0
