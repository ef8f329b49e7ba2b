"""A device of another machine is measured over ssh: here by the loopback address, and by a stand-in for ssh."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, UsageError
from mosaic_onnx.isolation.board.address import BoardHost, parse_host
from mosaic_onnx.profiling.measuring.meter import open_meter
from mosaic_onnx.profiling.measuring.remote import RemoteMeter
from mosaic_onnx.profiling.measuring.slices import SliceTrial
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from tests.machine.ssh import ROOT_ONLY, ssh_client, ssh_stand_in, sshd
from tests.unit.backends.helpers import unary

__all__ = ["ssh_client", "ssh_stand_in", "sshd"]

ROOT = Path(__file__).parents[4]
X = np.array([[-1.0, 2.0, -3.0], [4.0, -5.0, 6.0]], np.float32)
TRIAL = SliceTrial({"x": X}, {"y": -X}, TimeBudget(0.01))


def board(host: str = f"ssh://board{sys.executable}") -> Device:
    return Device("board", backend="onnxruntime", options={"threads": 1}, host=host)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("ssh://board", BoardHost("board")),
        ("ssh://me@10.0.0.7:2222/usr/bin/python3.10", BoardHost("10.0.0.7", "me", 2222, "/usr/bin/python3.10")),
    ],
)
def test_a_host_is_an_ssh_address_with_an_interpreter(text: str, host: BoardHost) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text", ["board", "http://board", "ssh://-oProxyCommand=touch", "ssh://", "ssh://me:secret@board", "ssh://a b"]
)
def test_other_hosts_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="host = "):
        parse_host(text)


def test_no_word_of_a_host_is_read_by_a_shell() -> None:
    command = BoardHost("board", python="/opt/my python;reboot").command("module", "a b")
    assert command[-1] == "'/opt/my python;reboot' -m module 'a b'"
    assert command[-3:-1] == ["--", "board"]


def test_a_slice_is_compiled_run_compared_and_timed_there(ssh_stand_in: Path) -> None:
    meter = open_meter(BACKEND, board(), 60.0)
    assert isinstance(meter, RemoteMeter)
    try:
        measured = meter.measure(unary("Neg"), TRIAL)
        assert (measured.reason, measured.differences) == ("", ())
        assert measured.seconds is not None
        wrong = meter.measure(unary("Abs"), TRIAL)
        assert wrong.differences
        assert meter.probe(unary("Neg")).reason == ""
        assert meter.copies(TimeBudget(0.01)) is None
    finally:
        meter.close()


def test_each_file_is_sent_once(ssh_stand_in: Path) -> None:
    meter = RemoteMeter(BACKEND, board(), 60.0)
    try:
        meter.measure(unary("Neg"), TRIAL)
        first_bytes = ssh_stand_in.stat().st_size
        meter.measure(unary("Neg"), TRIAL)
        assert ssh_stand_in.read_bytes().count(X.tobytes()) == 1
        assert ssh_stand_in.stat().st_size < 2 * first_bytes
    finally:
        meter.close()


def test_the_machine_that_measured_is_known(ssh_stand_in: Path) -> None:
    meter = RemoteMeter(BACKEND, board(), 60.0)
    try:
        facts = meter.machine()
        assert int(facts.fingerprint["core_count"]) >= 1
        assert "onnxruntime" in facts.versions
    finally:
        meter.close()


def test_a_board_without_the_package_is_blamed_with_a_command_to_try(
    ssh_stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SENT")
    meter = RemoteMeter(BACKEND, board("ssh://board/usr/bin/false"), 60.0)
    try:
        with pytest.raises(BackendError, match="device board on board: crashed its process"):
            meter.machine()
    finally:
        meter.close()


def test_the_child_needs_no_more_than_numpy_onnx_and_onnxruntime() -> None:
    script = """
import sys
from mosaic_onnx.profiling.measuring import child
from mosaic_onnx.isolation.board import child as board_child
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
heavy = {"pydantic", "scipy", "typer", "rich", "onnx_graphsurgeon", "tomli_w", "platformdirs"} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@ROOT_ONLY
def test_a_board_behind_a_real_sshd_is_measured(sshd: str, ssh_client: None) -> None:
    meter = RemoteMeter(BACKEND, board(sshd), 60.0)
    try:
        measured = meter.measure(unary("Neg"), TRIAL)
        assert (measured.reason, measured.differences) == ("", ())
        assert measured.seconds is not None
    finally:
        meter.close()
