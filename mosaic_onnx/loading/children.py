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


def run_child(
    job: str, request: Mapping[str, object], time_limit_s: float, memory_limit_bytes: int
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
    text = json.dumps({**request, "memory_limit_bytes": memory_limit_bytes, "parent": os.getpid()})
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as answer:
        status = _run(job, text, said, answer, time_limit_s)
        answer.seek(0)
        raw = answer.read()
        if status == 0 and raw:
            result: dict[str, object] = json.loads(raw)
            if result.get("failure") == "memory":
                raise ChildFailure("memory", f"more than {memory_limit_bytes} bytes")
            return result
        raise ChildFailure("crash", f"{_status(status)}: {_tail(said)}".rstrip(": "))


def _run(job: str, text: str, said: IO[bytes], answer: IO[bytes], time_limit_s: float) -> int:
    """Start the child, send the request and wait; kill its group at the limit or on an interruption."""
    began_s = time.monotonic()
    child = subprocess.Popen(
        module_command(_CHILD, job),
        stdin=subprocess.PIPE,
        stdout=answer,
        stderr=said,
        env=_environment(),
        start_new_session=True,
    )
    clock = ProcessClock(child.pid, began_s, is_new=True)
    unsent: bytes | None = text.encode()
    try:
        while (left_s := time_limit_s - clock.elapsed_s()) > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.communicate(unsent, timeout=min(left_s, WORD_EVERY_S))
                return child.returncode
            unsent = None  # a second call goes on where the first one stopped
            waited_s = time.monotonic() - began_s
            if waited_s < time_limit_s:
                what = _DOING.get(job, job)
                _LOG.warning("waiting for %s of a model: %.0f s, given up at %.0f s", what, waited_s, time_limit_s)
        raise ChildFailure("time", f"not done after {time_limit_s:g} s")
    finally:
        if child.poll() is None:
            _kill_group(child)


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
