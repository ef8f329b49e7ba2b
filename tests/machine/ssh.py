"""Ways to another machine for tests: a real sshd on the loopback address, and a stand-in for ssh."""

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

import pytest

ROOT = Path(__file__).parents[2]
ROOT_ONLY = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="sshd of the test runs as root only")
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
    yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}{os.environ.get('MOSAIC_BOARD_PYTHON', sys.executable)}"
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
