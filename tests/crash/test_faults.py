"""Whatever call of a writer fails or is where it is killed: the old content is there, or the new one, whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
Outcomes = list[dict[str, Any]]


def outcomes(folder: Path, step: int) -> Outcomes:
    """Of every fault at every ``step``-th call of every writer."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler, for the library that makes calls fail")
    shim = folder / "shim.so"
    source = Path(__file__).parent / "shim.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.crash.writers", folder, str(step)],
        env={**os.environ, "LD_PRELOAD": str(shim), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=1800,
    )
    found: Outcomes = json.loads(ended.stdout)
    return found


def check(found: Outcomes) -> None:
    """Nothing half, nothing lost, every failure told with the file's name and exit code 2."""
    assert not [each for each in found if each["state"] == "half"]
    assert not [each for each in found if not each["writer"].endswith("anew") and each["state"] == "absent"]
    failed = [each for each in found if each["ended"] not in ("0", "killed")]
    assert {each["ended"] for each in failed} == {"2"}
    assert not [each for each in failed if "here" not in each["message"]]
    assert not [each for each in found if each["ended"] == "0" and each["state"] != "new"]


def test_a_fault_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    found = outcomes(tmp_path, step=9)
    check(found)
    assert {each["writer"] for each in found} >= {"bundle", "bundle anew", "profile", "plan", "devices", "outputs"}
    assert {each["ended"] for each in found} == {"0", "2", "killed"}


@pytest.mark.slow
def test_no_fault_at_any_call_of_any_writer_leaves_half_a_file_or_loses_one(tmp_path: Path) -> None:
    found = outcomes(tmp_path, step=1)
    check(found)
    assert len({(each["writer"], each["call"]) for each in found if each["fault"] == "KILL"}) >= 200
    assert len(found) >= 1000
