"""Run a job in a child process under limits of time and memory: a hostile model can only harm the child."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mosaic_onnx.core.process.module_command import module_command
from mosaic_onnx.core.process.process_clock import ProcessClock

WORD_EVERY_S = 10.0
"""So often somebody who waits is told for what."""
_DOING = {"check": "the check", "load": "the loading in ONNX Runtime", "types": "the types and shapes"}
_LOG = logging.getLogger(__name__)
_TAIL_BYTES = 4000
_CHILD = "mosaic_onnx.loading.child"
_FORK_SERVER = "mosaic_onnx.loading.fork_server"
_START_LIMIT_S = 120.0
"""The process that starts children imports what they need first; on a busy machine that takes seconds."""


@dataclass(frozen=True)
class ChildFailure(Exception):
    """A child process ended without an answer.

    Attributes:
        kind: ``time`` (killed at the limit), ``memory`` (exceeded its limit) or ``crash``.
        detail: signal or exit status, and the end of its standard error.
    """

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


@dataclass(frozen=True)
class _Job:
    """A job, its limit, and the files of the child that does it: request, answer, and what it says."""

    name: str
    time_limit_s: float
    files: tuple[IO[bytes], IO[bytes], IO[bytes]]

    def wait(self, number: int, began_s: float, ended: Callable[[float], int | None]) -> int:
        """Return the exit status of the child that does it.

        Args:
            number: of its process.
            began_s: the moment of its start, of the monotonic clock.
            ended: waits so many seconds for its end; None where it has not come.

        Raises:
            ChildFailure: the limit has passed.
        """
        clock = ProcessClock(number, began_s, is_new=True)
        while (left_s := self.time_limit_s - clock.elapsed_s()) > 0:
            status = ended(min(left_s, WORD_EVERY_S))
            if status is not None:
                return status
            waited_s = time.monotonic() - began_s
            if waited_s < self.time_limit_s:
                what = _DOING.get(self.name, self.name)
                _LOG.warning("waiting for %s of a model: %.0f s, given up at %.0f s", what, waited_s, self.time_limit_s)
        raise ChildFailure("time", f"not done after {self.time_limit_s:g} s")


class _ForkServer:
    """A process that imports at once what jobs need, and forks a child for each (``fork_server``)."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        arguments = (_FORK_SERVER, str(theirs.fileno()), str(os.getpid()))
        # Telemetry of ONNX Runtime would run a thread, which no fork takes along.
        environment = {**_environment(), "ORT_DISABLE_TELEMETRY": "1"}
        nothing = subprocess.DEVNULL
        with theirs:
            self._process = subprocess.Popen(
                module_command(*arguments),
                stdin=nothing,
                stdout=nothing,
                stderr=nothing,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._unread = b""

    def status_of(self, job: _Job) -> int:
        """Have a job done by a forked child, and return its exit status.

        Raises:
            ChildFailure: the limit has passed, or this process has ended.
        """
        with contextlib.suppress(OSError):  # its end shows when it is read from
            socket.send_fds(self._channel, [b"j"], [file.fileno() for file in job.files])
        child = self._number(_START_LIMIT_S)
        if child is None:
            raise ChildFailure("crash", f"the process that starts children started none in {_START_LIMIT_S:g} s")
        has_ended = False
        try:
            status = job.wait(child, time.monotonic(), self._number)
            has_ended = True
            return status
        finally:
            if not has_ended:
                with contextlib.suppress(OSError):
                    os.killpg(child, signal.SIGKILL)
                with contextlib.suppress(ChildFailure):  # its status is not that of the next job
                    self._number(_START_LIMIT_S)

    def _number(self, seconds: float) -> int | None:
        """Return the next number that it sends; None where none comes in time.

        Raises:
            ChildFailure: it has ended.
        """
        self._channel.settimeout(seconds)
        while b"\n" not in self._unread:
            try:
                more = self._channel.recv(64)
            except TimeoutError:
                return None
            except OSError:
                more = b""
            if not more:
                raise ChildFailure("crash", "the process that starts children has ended")
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return int(line)

    def close(self) -> None:
        """End it; calling it twice is harmless."""
        self._channel.close()
        _end(self._process)


class Children:
    """Child processes for jobs on untrusted models, one for each job."""

    def __init__(self, *, ahead: bool = False) -> None:
        """Prepare.

        Args:
            ahead: several jobs will come: import what they need at once, while the caller does something else, and once
                for all of them (on Linux; elsewhere each child starts when it is needed).
        """
        self._server = _ForkServer() if ahead and sys.platform == "linux" else None

    def run(
        self, job: str, request: Mapping[str, object], time_limit_s: float, memory_limit_bytes: int
    ) -> dict[str, object]:
        """Run one job of ``child`` and return its answer.

        Args:
            job: the job's name in ``child.JOBS``.
            request: its arguments, as JSON values.
            time_limit_s: limit by the child's clock (``ProcessClock``): while others keep it from every core, its time
                stands still. The child's whole process group is killed when it has passed.
            memory_limit_bytes: limit of the child's address space (where the system has such limits).

        Returns:
            The job's answer.

        Raises:
            ChildFailure: the child ended without an answer.
        """
        told = {"job": job, "request": {**request}, "memory_limit_bytes": memory_limit_bytes, "parent": os.getpid()}
        with ExitStack() as stack:
            asked, answer, said = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            asked.write(json.dumps(told).encode())
            asked.seek(0)
            one = _Job(job, time_limit_s, (asked, answer, said))
            status = _status_alone(one) if self._server is None else self._server.status_of(one)
            answer.seek(0)
            raw = answer.read()
            if status == 0 and raw:
                result: dict[str, object] = json.loads(raw)
                if result.get("failure") == "memory":
                    raise ChildFailure("memory", f"more than {memory_limit_bytes} bytes")
                return result
            raise ChildFailure("crash", f"{_status(status)}: {_tail(said)}".rstrip(": "))

    def close(self) -> None:
        """End the process that starts children; calling it twice is harmless. Later jobs start theirs themselves."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _status_alone(job: _Job) -> int:
    """Have a job done by a child of this process, and return its exit status.

    Raises:
        ChildFailure: the limit has passed.
    """
    asked, answer, said = job.files
    began_s = time.monotonic()
    child = subprocess.Popen(
        module_command(_CHILD), stdin=asked, stdout=answer, stderr=said, env=_environment(), start_new_session=True
    )

    def ended(seconds: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(seconds)
        return None

    try:
        return job.wait(child.pid, began_s, ended)
    finally:
        _end(child)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process's group if it runs."""
    if process.poll() is not None:
        return
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _environment() -> dict[str, str]:
    """Return the child's environment: it imports this package, not the current folder's, without thread pools."""
    package_parent = str(Path(__file__).resolve().parents[2])
    # An empty entry would mean the current folder, which may hold hostile files.
    given = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(place)]
    path = os.pathsep.join([package_parent, *given])
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _status(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"


def _tail(said: IO[bytes]) -> str:
    end = said.seek(0, os.SEEK_END)
    said.seek(max(0, end - _TAIL_BYTES))
    lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
