"""Restore frequency limits, even if the process that changed them is killed.

``FrequencyControl`` starts a guard process before the first change. The guard holds the old settings and waits for the
end of its standard input; when the other process ends in any way (SIGKILL included), the kernel closes that pipe
and the guard writes the old settings back.

Run as ``python -m mosaic_onnx.backends.hardware.frequency_guard`` it is the guard: the first line of its input is a
JSON list of ``[path, text]`` in the order in which to restore.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from mosaic_onnx.backends.hardware.frequencies import FrequencyDomain, write_setting
from mosaic_onnx.backends.hardware.system import read_text
from mosaic_onnx.core.errors import BackendError

Setting = tuple[str, str]
"""A file and its former text."""


@dataclass
class FrequencyControl:
    """Holds domains at frequencies until it is closed, then restores their limits.

    Attributes:
        domains: those that may be set.
    """

    domains: Sequence[FrequencyDomain]
    _guard: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _set: dict[str, float] = field(default_factory=dict, init=False)

    def __enter__(self) -> FrequencyControl:
        """Return itself; nothing is changed yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the limits."""
        self.close()

    def set_hz(self, domain: FrequencyDomain, frequency_hz: float) -> None:
        """Hold a domain at a frequency; do nothing if it is already held there.

        Raises:
            BackendError: the system refuses; what was set before stays until ``close``.
        """
        if self._set.get(domain.name) == frequency_hz:
            return
        if self._guard is None:
            self._guard = _start_guard(self.domains)
        domain.set_hz(frequency_hz)
        self._set[domain.name] = frequency_hz

    def close(self) -> None:
        """Restore every limit; calling it twice is harmless.

        Raises:
            BackendError: a limit could not be restored.
        """
        guard, self._guard = self._guard, None
        self._set.clear()
        if guard is None:
            return
        _, errors = guard.communicate()
        if guard.returncode:
            raise BackendError(f"frequency limits could not be restored: {errors.decode(errors='replace').strip()}")


def _start_guard(domains: Sequence[FrequencyDomain]) -> subprocess.Popen[bytes]:
    """Start the guard with the current settings.

    Raises:
        BackendError: a setting cannot be read, or the guard does not answer.
    """
    settings = [setting for domain in domains for setting in _settings(domain)]
    guard = subprocess.Popen(
        [sys.executable, "-P", "-m", "mosaic_onnx.backends.hardware.frequency_guard"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C and a kill of our process group must not reach it
    )
    if guard.stdin is None or guard.stdout is None:
        raise BackendError("the guard of frequency limits was started without pipes")
    try:
        guard.stdin.write(json.dumps(settings).encode() + b"\n")
        guard.stdin.flush()
        ready = guard.stdout.readline()
    except OSError:
        ready = b""
    if ready.strip() != b"ready":
        guard.kill()
        _, errors = guard.communicate()
        raise BackendError(f"the guard of frequency limits did not start: {errors.decode(errors='replace').strip()}")
    return guard


def _settings(domain: FrequencyDomain) -> tuple[Setting, ...]:
    """Return the current limits, the lower one twice: the kernel refuses an upper limit below the lower one."""
    lowest, highest = read_text(domain.lowest), read_text(domain.highest)
    if lowest is None or highest is None:
        raise BackendError(f"the limits of {domain.name} cannot be read", f"see {domain.highest}")
    return (str(domain.lowest), lowest), (str(domain.highest), highest), (str(domain.lowest), lowest)


def restore(settings: Sequence[Setting]) -> list[str]:
    """Restore all settings that can be restored; return the failures."""
    failures: dict[str, str] = {}
    for path, text in settings:
        failures.pop(path, None)
        try:
            write_setting(Path(path), text)
        except BackendError as error:
            failures[path] = error.message
    return list(failures.values())


def main() -> int:
    """Wait for the end of the input, then restore."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the pipe's end tells that the parent ended
    settings = [(str(path), str(text)) for path, text in json.loads(sys.stdin.readline())]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with contextlib.suppress(OSError):
        sys.stdin.read()
    failures = restore(settings)
    sys.stderr.write("; ".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
