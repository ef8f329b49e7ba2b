"""Importing OpenVINO reports the user to nobody: each case in a process and a home of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="openvino is not installed")
pytest.importorskip("openvino_telemetry", reason="the package that reports is not installed")

_WATCH = """
import sys, threading
reached = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        reached.append(event)
        raise OSError("no network in this test")
sys.addaudithook(watch)
"""
_REPORT = """
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(10)
print(sorted(set(reached)), "openvino_telemetry" in sys.modules)
"""


def said_by(program: str, home: Path) -> str:
    """Return a program's output, outside of a build machine's environment, which would report nothing anyway."""
    machines = ("CI", "TF_BUILD", "JENKINS_URL")
    environment = {key: value for key, value in os.environ.items() if key not in machines}
    done = subprocess.run(
        [sys.executable, "-c", _WATCH + program + _REPORT],
        env={**environment, "HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip()


def test_finding_and_using_openvino_reports_nothing_and_writes_nothing_home(tmp_path: Path) -> None:
    program = """
import numpy, onnx.parser
from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.backends.openvino.backend import BACKEND
device = BACKEND.find().devices[0]
graph = "g (float[2] x) => (float[2] y) { y = Relu(x) }"
model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 17]> ' + graph)
BACKEND.load(SliceModel(model, None, ("x",), ("y",)), device).run({"x": numpy.ones(2, numpy.float32)})
"""
    assert said_by(program, tmp_path) == "[] False"
    assert not list(tmp_path.iterdir())


def test_the_reporting_package_can_be_imported_by_the_users_program_afterwards(tmp_path: Path) -> None:
    program = """
from mosaic_onnx.backends.openvino.quiet import openvino_module
assert openvino_module().__name__ == "openvino"
import openvino_telemetry
"""
    assert said_by(program, tmp_path) == "[] True"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_plain_import_reports_so_that_the_watching_is_no_idle_one(tmp_path: Path) -> None:
    assert said_by("import openvino\n", tmp_path).endswith(" True")
    assert list(tmp_path.iterdir())
