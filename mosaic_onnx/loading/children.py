"""Run a job in a child process under limits of time and memory: a hostile model can only harm the child."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
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
class _Child:
    """A child process that has not been told its job yet, and the files that take what it says and answers."""

    process: subprocess.Popen[bytes]
    said: IO[bytes]
    answer: IO[bytes]
    began_s: float
    is_spare: bool

    @classmethod
    def started(cls, *, is_spare: bool) -> _Child:
        """Start one; a spare one imports at once what the jobs need."""
        said, answer = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (`close` closes them)
        process = subprocess.Popen(
            module_command(_CHILD, *(["spare"] if is_spare else [])),
            stdin=subprocess.PIPE,
            stdout=answer,
            stderr=said,
            env=_environment(),
            start_new_session=True,
        )
        return cls(process, said, answer, time.monotonic(), is_spare)

    def answered(self, text: str, job: str, time_limit_s: float) -> int:
        """Send the request and wait; the exit status. Kill the child's group at the limit or on an interruption."""
        began_s = time.monotonic() if self.is_spare else self.began_s
        clock = ProcessClock(self.process.pid, began_s, is_new=not self.is_spare)
        unsent: bytes | None = text.encode()
        try:
            while (left_s := time_limit_s - clock.elapsed_s()) > 0:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.communicate(unsent, timeout=min(left_s, WORD_EVERY_S))
                    return self.process.returncode
                unsent = None  # a second call goes on where the first one stopped
                waited_s = time.monotonic() - began_s
                if waited_s < time_limit_s:
                    what = _DOING.get(job, job)
                    _LOG.warning("waiting for %s of a model: %.0f s, given up at %.0f s", what, waited_s, time_limit_s)
            raise ChildFailure("time", f"not done after {time_limit_s:g} s")
        finally:
            self.end()

    def end(self) -> None:
        """Kill the process if it runs; calling it twice is harmless."""
        if self.process.poll() is None:
            _kill_group(self.process)

    def close(self) -> None:
        """End the process, and give its files back."""
        self.end()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        self.said.close()
        self.answer.close()


class Children:
    """Child processes for jobs on untrusted models, one for each job.

    Some may be started ahead: the next one imports what it needs while the one before works, or its caller does.
    """

    def __init__(self, ahead_count: int = 0) -> None:
        """Start the first of ``ahead_count`` spare children; further jobs start a child when it is needed."""
        self._ahead_count = ahead_count
        self._spare: _Child | None = None
        self._start_ahead()

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
        child, self._spare = self._spare or _Child.started(is_spare=False), None
        try:
            self._start_ahead()
            status = child.answered(json.dumps(told), job, time_limit_s)
            child.answer.seek(0)
            raw = child.answer.read()
            if status == 0 and raw:
                result: dict[str, object] = json.loads(raw)
                if result.get("failure") == "memory":
                    raise ChildFailure("memory", f"more than {memory_limit_bytes} bytes")
                return result
            raise ChildFailure("crash", f"{_status(status)}: {_tail(child.said)}".rstrip(": "))
        finally:
            child.close()

    def _start_ahead(self) -> None:
        if self._ahead_count > 0:
            self._ahead_count -= 1
            self._spare = _Child.started(is_spare=True)

    def close(self) -> None:
        """End the child that waits; calling it twice is harmless."""
        child, self._spare = self._spare, None
        if child is not None:
            child.close()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


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
