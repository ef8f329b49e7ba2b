"""Restore frequencies, even if the process that changed them is killed.

A guard process is started before the first change. It is told the former settings of each domain, and waits for the end
of its standard input; when the other process ends in any way (SIGKILL included), the kernel closes that pipe and the
guard restores what is still held. One guard serves all devices of a process, since several may share a domain: the
settings before the first of them are the former ones. A guard locks the domains that its process holds, so that another
process neither fights over them nor takes held limits for the former ones.

Run as ``python -m mosaic_onnx.backends.hardware.frequency_guard`` it is the guard. Each line of its input is JSON:
``{"lock": NAME, "path": …}`` and ``{"hold": NAME, "settings": […]}`` are answered with ``ready``, ``{"restore": NAME}``
with an empty line, and all of them with words where something is wrong.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType

from mosaic_onnx.backends.hardware.frequencies import FrequencyDomain, Setting, write_setting
from mosaic_onnx.backends.hardware.nvml import unlock_clocks
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.process.module_command import module_command

LOCK_LIMIT_S = 10.0
"""Another process's guard may take so long to restore what it held."""


@dataclass
class FrequencyLimits:
    """The domains that this process holds, each for all devices that use it, and the guard that restores them."""

    _guard: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _held_hz: dict[str, float] = field(default_factory=dict, init=False)
    _user_count: dict[str, int] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def hold(self, domain: FrequencyDomain) -> None:
        """Let one more user hold a domain; its settings are remembered for the first.

        Raises:
            BackendError: a setting cannot be read, or the guard does not answer.
        """
        with self._lock:
            if not self._user_count.get(domain.name):
                self._take(domain)
            self._user_count[domain.name] = self._user_count.get(domain.name, 0) + 1

    def _take(self, domain: FrequencyDomain) -> None:
        """Lock a domain, and let the guard remember its settings."""
        try:
            self._tell({"lock": domain.name, "path": domain.lock_path}, "ready")
            self._tell({"hold": domain.name, "settings": domain.former_settings()}, "ready")
        except BackendError:
            self._tell({"restore": domain.name}, "")
            if not self._user_count:
                self._end_guard()
            raise

    def set_hz(self, domain: FrequencyDomain, frequency_hz: float) -> bool:
        """Bring a held domain to a frequency, and return whether that changed it.

        Raises:
            BackendError: the system refuses.
        """
        with self._lock:
            if self._held_hz.get(domain.name) == frequency_hz:
                return False
            domain.set_hz(frequency_hz)
            self._held_hz[domain.name] = frequency_hz
            return True

    def release(self, domain: FrequencyDomain) -> None:
        """Let one user go; the last one restores the domain.

        Raises:
            BackendError: it could not be restored.
        """
        with self._lock:
            self._user_count[domain.name] -= 1
            if self._user_count[domain.name]:
                return
            del self._user_count[domain.name]
            self._held_hz.pop(domain.name, None)
            try:
                self._tell({"restore": domain.name}, "")
            finally:
                if not self._user_count:
                    self._end_guard()

    def _tell(self, message: object, expected: str) -> None:
        """Tell the guard something, and wait for its answer; it is started where there is none.

        Raises:
            BackendError: it answers something else.
        """
        guard = self._guard = self._guard or _start_guard()
        if guard.stdin is None or guard.stdout is None:
            raise BackendError("the guard of frequency limits was started without pipes")
        try:
            guard.stdin.write(json.dumps(message).encode() + b"\n")
            guard.stdin.flush()
            line = guard.stdout.readline()
        except OSError:
            line = b""
        answer = line.decode(errors="replace").strip()
        if not line:
            raise BackendError("the guard of frequency limits died: the limits may not be as they were")
        if answer != expected:
            raise BackendError(f"frequency limits: {answer}")

    def _end_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.communicate()


@cache
def process_limits() -> FrequencyLimits:
    """Return the one holder of this process: the machine's frequencies are shared by all devices."""
    return FrequencyLimits()


@dataclass
class FrequencyControl:
    """Holds domains at frequencies for one device until it is closed.

    Attributes:
        domains: those that may be set.
        limits: of the process.
    """

    domains: Sequence[FrequencyDomain]
    limits: FrequencyLimits = field(default_factory=process_limits)
    _holding: list[FrequencyDomain] = field(default_factory=list, init=False)

    def __enter__(self) -> FrequencyControl:
        """Return itself; nothing is changed yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the limits."""
        self.close()

    def set_hz(self, domain: FrequencyDomain, frequency_hz: float) -> bool:
        """Hold a domain at a frequency, and return whether that changed it.

        Raises:
            BackendError: the system refuses; what was set before stays until ``close``.
        """
        for each in self.domains[len(self._holding) :]:
            self.limits.hold(each)
            self._holding.append(each)
        return self.limits.set_hz(domain, frequency_hz)

    def close(self) -> None:
        """Restore the domains that no other device holds; calling it twice is harmless.

        Raises:
            BackendError: a limit could not be restored.
        """
        while self._holding:
            self.limits.release(self._holding.pop())


def _start_guard() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        module_command("mosaic_onnx.backends.hardware.frequency_guard"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C and a kill of our process group must not reach it
    )


def restore(settings: Sequence[Setting]) -> list[str]:
    """Restore all settings that can be restored; return the failures."""
    failures: dict[tuple[str, str], str] = {}
    for kind, place, value in settings:
        failures.pop((kind, place), None)
        try:
            if kind == "nvml":
                unlock_clocks(place, int(value))
            else:
                write_setting(Path(place), value)
        except BackendError as error:
            failures[kind, place] = error.message
    return list(failures.values())


@dataclass
class _Held:
    """The domains that the guard's process holds: locks, and what restores them, by name."""

    locks: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Sequence[Setting]] = field(default_factory=dict)

    def lock(self, name: str, path: str) -> str:
        """Lock a domain; return ``ready``, or why it cannot be."""
        if not path or sys.platform == "win32":  # no such domains there
            return "ready"
        import fcntl

        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            return f"{path} cannot be opened: {error.strerror}"
        until_s = time.monotonic() + LOCK_LIMIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() >= until_s:
                    os.close(descriptor)
                    return f"another process holds {name} at a frequency: wait for its end"
                time.sleep(0.01)
            else:
                self.locks[name] = descriptor
                return "ready"

    def hold(self, name: str, settings: Sequence[Setting]) -> str:
        """Remember what restores a domain."""
        self.settings[name] = settings
        return "ready"

    def restore(self, name: str) -> str:
        """Restore and unlock a domain; return the failures."""
        failures = restore(self.settings.pop(name, ()))
        if name in self.locks:
            os.close(self.locks.pop(name))
        return "; ".join(failures)


def main() -> None:
    """Restore domains as told, and at the end of the input those that are still held."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the pipe's end tells that the parent ended
    held = _Held()
    for line in sys.stdin:
        message = json.loads(line)
        if "lock" in message:
            answer = held.lock(message["lock"], message["path"])
        elif "hold" in message:
            answer = held.hold(message["hold"], message["settings"])
        else:
            answer = held.restore(message["restore"])
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()
    for name in list(held.settings):
        held.restore(name)


if __name__ == "__main__":
    main()
