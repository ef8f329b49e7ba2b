"""Restore frequencies, even if the process that changed them is killed.

A guard process is started before the first change. It is told the former settings of each domain, and waits for the end
of its standard input; when the other process ends in any way (SIGKILL included), the kernel closes that pipe and the
guard restores what is still held. One guard serves all devices of a process, since several may share a domain: the
settings before the first of them are the former ones.

Run as ``python -m mosaic_onnx.backends.hardware.frequency_guard`` it is the guard. Each line of its input is JSON:
``{"hold": NAME, "settings": [...]}``, answered with ``ready``, or ``{"restore": NAME}``, answered with the failures.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType

from mosaic_onnx.backends.hardware.frequencies import FrequencyDomain, Setting, write_setting
from mosaic_onnx.backends.hardware.nvml import unlock_clocks
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.module_command import module_command


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
                self._tell({"hold": domain.name, "settings": domain.former_settings()}, "ready")
            self._user_count[domain.name] = self._user_count.get(domain.name, 0) + 1

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
            raise BackendError(f"frequency limits could not be restored: {answer}")

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


def main() -> None:
    """Restore domains as told, and at the end of the input those that are still held."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the pipe's end tells that the parent ended
    held: dict[str, Sequence[Setting]] = {}
    for line in sys.stdin:
        message = json.loads(line)
        if "hold" in message:
            held[message["hold"]] = message["settings"]
            answer = "ready"
        else:
            answer = "; ".join(restore(held.pop(message["restore"])))
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()
    for settings in held.values():
        restore(settings)


if __name__ == "__main__":
    main()
