"""A device of another machine is measured over ssh: here by the loopback address, and by a stand-in for ssh."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, UsageError
from mosaic_onnx.profiling.measuring.board_host import BoardHost, parse_host
from mosaic_onnx.profiling.measuring.meter import open_meter
from mosaic_onnx.profiling.measuring.remote import RemoteMeter
from mosaic_onnx.profiling.measuring.slices import SliceTrial
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from tests.unit.backends.helpers import unary

ROOT = Path(__file__).parents[4]
X = np.array([[-1.0, 2.0, -3.0], [4.0, -5.0, 6.0]], np.float32)
TRIAL = SliceTrial({"x": X}, {"y": -X}, TimeBudget(0.01))
STAND_IN = """#!/bin/sh
# Runs what ssh would run on the other machine; keeps what was sent.
while [ "$1" != "--" ]; do shift; done
[ -n "$SENT" ] || exec env -i PATH="$PATH" PYTHONPATH="$BOARD_PATH" sh -c "$3"
exec tee -a "$SENT" | env -i PATH="$PATH" PYTHONPATH="$BOARD_PATH" sh -c "$3"
"""


@pytest.fixture
def ssh_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called ssh that runs the command here; what was sent is in the file that it returns."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(STAND_IN)
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BOARD_PATH", os.pathsep.join([str(ROOT), *filter(None, sys.path)]))
    monkeypatch.setenv("SENT", str(tmp_path / "sent"))
    return tmp_path / "sent"


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
    meter = RemoteMeter("mosaic_onnx.backends.onnxruntime.backend:BACKEND", board(), 60.0)
    try:
        meter.measure(unary("Neg"), TRIAL)
        first_bytes = ssh_stand_in.stat().st_size
        meter.measure(unary("Neg"), TRIAL)
        assert ssh_stand_in.read_bytes().count(X.tobytes()) == 1
        assert ssh_stand_in.stat().st_size < 2 * first_bytes
    finally:
        meter.close()


def test_the_machine_that_measured_is_known(ssh_stand_in: Path) -> None:
    meter = RemoteMeter("mosaic_onnx.backends.onnxruntime.backend:BACKEND", board(), 60.0)
    try:
        facts = meter.machine()
        assert facts["machine"]["core_count"] >= 1
        assert "onnxruntime" in facts["versions"]
    finally:
        meter.close()


def test_a_board_without_the_package_is_blamed_with_a_command_to_try(
    ssh_stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SENT")
    meter = RemoteMeter("mosaic_onnx.backends.onnxruntime.backend:BACKEND", board("ssh://board/usr/bin/false"), 60.0)
    try:
        with pytest.raises(BackendError, match="device board on board: crashed its process"):
            meter.machine()
    finally:
        meter.close()


def test_the_child_needs_no_more_than_numpy_onnx_and_onnxruntime() -> None:
    script = """
import sys
from mosaic_onnx.profiling.measuring import child
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
heavy = {"pydantic", "scipy", "typer", "rich", "onnx_graphsurgeon", "tomli_w", "platformdirs"} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[str]:
    """A real sshd on the loopback address with a key of its own; the address to reach it by."""
    server, client = shutil.which("sshd", path=f"/usr/sbin{os.pathsep}{os.environ['PATH']}"), shutil.which("ssh")
    if server is None or client is None:
        pytest.skip("sshd is absent: install openssh-server and openssh-client")
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    (tmp_path / "authorized_keys").write_text((tmp_path / "user_key.pub").read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host_key\nPidFile {tmp_path}/pid\n"
        f"AuthorizedKeysFile {tmp_path}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        f"SetEnv PYTHONPATH={ROOT}\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([server, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}{sys.executable}"
    process.terminate()
    process.wait()


@pytest.fixture
def ssh_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's ssh client with the test's key and no known hosts of the user."""
    real = shutil.which("ssh")
    folder = tmp_path / "client"
    folder.mkdir()
    options = f"-i {tmp_path}/user_key -o IdentitiesOnly=yes -o StrictHostKeyChecking=no"
    (folder / "ssh").write_text(f'#!/bin/sh\nexec {real} {options} -o UserKnownHostsFile=/dev/null -F /dev/null "$@"\n')
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="sshd of the test runs as root only")
def test_a_board_behind_a_real_sshd_is_measured(sshd: str, ssh_client: None) -> None:
    meter = RemoteMeter("mosaic_onnx.backends.onnxruntime.backend:BACKEND", board(sshd), 60.0)
    try:
        measured = meter.measure(unary("Neg"), TRIAL)
        assert (measured.reason, measured.differences) == ("", ())
        assert measured.seconds is not None
    finally:
        meter.close()
