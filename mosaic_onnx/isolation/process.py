"""One child process that answers requests, and what is said of it when it does not."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mosaic_onnx.core.errors import InternalError
from mosaic_onnx.core.process.module_command import module_command
from mosaic_onnx.core.process.process_clock import PATIENCE, ProcessClock
from mosaic_onnx.core.process.shared_folder import SharedFolder
from mosaic_onnx.isolation.limits import child_memory_bytes
from mosaic_onnx.isolation.marks import Mark, Marks

Json = Any
DEATHS_IN_A_ROW = 3
"""After so many, a child is not started again: a hang costs the whole limit each time."""
WORD_EVERY_S = 10.0
"""So often somebody who waits is told on whom."""
_INLINE_BYTES = 4096
"""A longer request goes through a file, so that a child that hangs never leaves its parent writing to a full pipe."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wait:
    """The time to wait for an answer.

    Attributes:
        began_s: when the waiting began, of the monotonic clock.
        limit_s: how long it may last by the child's clock (``ProcessClock``).
        doing: what is waited for.
        usual_s: nothing is said until then.
    """

    began_s: float
    limit_s: float
    doing: str
    usual_s: float = 0.0


class ChildDied(Exception):
    """A child crashed, ran out of time, or gave an invalid answer.

    Attributes:
        reason: how it ended, in words that follow a device's name.
        mark: what it was doing; None where it was doing nothing with a device.
        is_new: it died of this request; not so where it was not even tried.
    """

    def __init__(self, reason: str, mark: Mark | None = None, *, is_new: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.mark = mark
        self.is_new = is_new


class ChildProcess:
    """A child that serves the backends at some addresses; started by the first request, and again after it died.

    Attributes:
        name: what messages call it: the devices that it runs.
        addresses: ``module:NAME`` of each backend, by the backend's name.
        generation: rises with each death: what the child held before is gone.
        files: a folder for what both read, in memory where the system has such a folder.
    """

    def __init__(
        self,
        name: str,
        addresses: Mapping[str, str],
        patience: float = PATIENCE,
        *,
        imports: Sequence[str] = (),
        preload: Sequence[str] = (),
    ) -> None:
        """Prepare.

        Args:
            name: what messages call it: the devices that it runs.
            addresses: ``module:NAME`` of each backend, by the backend's name.
            patience: of the clock of its limits (``ProcessClock``); 1 for limits by the wall clock.
            imports: modules that it imports at its start, before it is asked for anything.
            preload: names of backends whose runtimes it imports then (``Preloads``).
        """
        self._patience = patience
        self.name = name
        self.generation = 0
        self.addresses = dict(addresses)
        self._imports, self._preload = tuple(imports), tuple(preload)
        self._deaths = 0
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] = lambda: None
        self._unread = bytearray()
        self._folder = SharedFolder()
        self.files = self._folder.path
        self._marks = Marks.create(self.files / "marks")

    @property
    def is_running(self) -> bool:
        """True if it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the child where it does not run, and return at once: its first request then finds it there."""
        with self._lock:
            if self._process is None:
                to_child, _ = _pipes(self._start())
                with contextlib.suppress(BrokenPipeError):  # a dead child shows when it is asked
                    to_child.flush()

    def ask(
        self, action: str, request: Mapping[str, Json], limit_s: float, doing: str = "", usual_s: float = 0.0
    ) -> dict[str, Json]:
        """Send a request and wait for its answer; one at a time, whatever thread asks.

        Args:
            action: ``module:function`` of this package that the child calls.
            request: what it is given, JSON.
            limit_s: how long the answer may take, the child's start included; while others keep it from every core,
                its time stands still.
            doing: what is waited for, for who waits long.
            usual_s: an answer may well take so long: nothing is said until then.

        Returns:
            The answer; ``failure`` in it where the action raised.

        Raises:
            ChildDied: there is no answer; the child, and all that it held, is gone.
        """
        with self._lock:
            if self._deaths >= DEATHS_IN_A_ROW:
                words = f"not tried: the provider crashed or hung {self._deaths} times in a row"
                raise ChildDied(words, is_new=False)
            try:
                self._marks.clear()
                line = self._send({"action": action, **request}, Wait(time.monotonic(), limit_s, doing, usual_s))
            except TimeoutError:
                line = None
            except BaseException:
                self._kill()  # whatever it answers later belongs to no request
                raise
            answer = None if line is None else _parsed(line)
            if answer is not None:
                self._deaths = 0
                return answer
            self._deaths += 1
            raise ChildDied(self._how_it_died(line is None, limit_s), self._marks.read())

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the interpreter's end anything may be gone already
            self._kill()

    def close(self) -> None:
        """Kill the child and remove its files; calling it twice is harmless."""
        self._kill()
        self._marks.close()
        self._folder.close()

    def _send(self, request: Mapping[str, Json], wait: Wait) -> bytes:
        """Send a request; its answer, or what there was of it when the child died.

        Raises:
            TimeoutError: it did not answer in time.
        """
        return self._exchange(self._message(request), wait)

    def _command(self) -> list[str]:
        """Return what starts the child."""
        return module_command("mosaic_onnx.isolation.child")

    def _setup(self) -> dict[str, Json]:
        """Return what the child is told first."""
        return {
            "backends": self.addresses,
            "imports": self._imports,
            "preload": self._preload,
            "marks": str(self.files / "marks"),
            "memory_limit_bytes": child_memory_bytes(),
            # The kernel counts the thread that started a child as its parent, and threads other than the main one end.
            "parent": os.getpid() if threading.current_thread() is threading.main_thread() else None,
        }

    def _message(self, request: Mapping[str, Json]) -> bytes:
        text = json.dumps(request)
        if len(text) <= _INLINE_BYTES:
            return f"{text}\n".encode()
        path = self.files / "request"
        path.write_text(text, encoding="utf-8")
        return f"{path}\n".encode()

    def _exchange(self, message: bytes, wait: Wait) -> bytes:
        """Send bytes, read a line; what was read so far where the child dies; errors as for ``_send``."""
        is_new = self._process is None
        process = self._process or self._start()
        clock = ProcessClock(process.pid, wait.began_s, is_new=is_new, patience=self._patience)
        to_child, from_child = _pipes(process)
        with contextlib.suppress(BrokenPipeError):  # a dead child shows when it is read from
            to_child.write(message)
            to_child.flush()

        def tell(waited_s: float) -> None:
            if waited_s < wait.usual_s:
                return
            what = f" ({wait.doing})" if wait.doing else ""
            _LOG.warning("waiting for %s%s: %.0f s, given up at %.0f s", self.name, what, waited_s, wait.limit_s)

        return _read_line(from_child, self._unread, lambda: wait.limit_s - clock.elapsed_s(), tell)

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.files / "stderr").open("wb") as errors:
            process = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # what we can import, it can
                start_new_session=True,  # a group of its own: grandchildren die with it, Ctrl-C reaches only us
            )
        self._process = process
        self._end = weakref.finalize(self, _end, process)  # a child that nobody holds any more is ended
        _pipes(process)[0].write(json.dumps(self._setup()).encode() + b"\n")
        return process

    def _how_it_died(self, too_late: bool, limit_s: float) -> str:
        """End what is left of the child and say what happened."""
        process = self._process
        code = None if process is None or too_late else _wait(process)
        self._kill()
        if code is None:
            return f"did not finish within {limit_s:g} s"
        last = _last_line(self.files / "stderr")
        return f"crashed its process ({_exit_text(code)}){': ' + last if last else ''}"

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self.generation += 1
        self._unread.clear()
        self._end()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a child's process group and close its pipes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in _pipes(process):
        with contextlib.suppress(OSError):
            pipe.close()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """Return the child's standard input and output, which ``_start`` made pipes."""
    if process.stdin is None or process.stdout is None:
        raise InternalError("a child process was started without pipes")
    return process.stdin, process.stdout


def _parsed(line: bytes) -> dict[str, Json] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read_line(
    pipe: IO[bytes], content: bytearray, left_s: Callable[[], float], tell: Callable[[float], None]
) -> bytes:
    """Take bytes up to a newline or the end of the stream.

    Args:
        pipe: where they come from.
        content: what was read and not taken yet; changed in place.
        left_s: how long there may be nothing to read from now on.
        tell: called with the seconds that went by, while that takes long.

    Raises:
        TimeoutError: the time is over.
    """
    began = told = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while b"\n" not in content:
            if (left := left_s()) <= 0:
                raise TimeoutError
            if not selector.select(min(left, max(0.0, told + WORD_EVERY_S - time.monotonic()))):
                if (now := time.monotonic()) - told >= WORD_EVERY_S and left_s() > 0:
                    told = now
                    tell(now - began)
                continue
            chunk = os.read(pipe.fileno(), 1 << 16)
            if not chunk:
                break
            content += chunk
    end = content.find(b"\n") + 1 or len(content)
    line = bytes(content[:end])
    del content[:end]
    return line


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        return None


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _last_line(path: Path) -> str:
    try:
        lines = path.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:200] if lines else ""
