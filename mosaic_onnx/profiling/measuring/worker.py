"""Measuring in a child process: a provider that crashes or hangs ends only the child.

One child serves all requests for a device (importing a runtime costs a quarter of a second); a request during which it
dies or exceeds its time gives that as the reason, its process group is killed, and the next request gets a new child.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from mosaic_onnx.backends.base import Array, KernelTime, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError, InternalError
from mosaic_onnx.isolation.messages import device_to_json, write_slice, write_tensors
from mosaic_onnx.profiling.energy import Energy
from mosaic_onnx.profiling.measuring.copies import CopyTimes
from mosaic_onnx.profiling.measuring.slices import SliceMeasurement, SliceTrial
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.verification.differences import Difference

Json = Any
CHILD = "mosaic_onnx.profiling.measuring.child"
_DEATHS_IN_A_ROW = 3
"""After so many hangs a provider is not tried again: each costs the whole time limit."""


class ChildMeter:
    """A ``Meter`` that measures in a child process."""

    def __init__(self, address: str, device: Device, limit_s: float) -> None:
        """Prepare the meter; the child starts with the first request.

        Args:
            address: ``module:NAME`` of the backend.
            device: the device to measure.
            limit_s: how long one request may take, the child's start included.
        """
        self._address = address
        self._device = device
        self._limit_s = limit_s
        self._deaths = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="mosaic-measuring-")
        self._files = Path(self._folder.name)

    def probe(self, model: SliceModel) -> SliceMeasurement:
        """See ``Meter``."""
        return _outcome(self._ask({"what": "probe", "slice": self._slice(model)}))

    def measure(self, model: SliceModel, trial: SliceTrial) -> SliceMeasurement:
        """See ``Meter``."""
        request = {
            "what": "measure",
            "slice": self._slice(model),
            "inputs": write_tensors(trial.inputs, self._files / "inputs"),
            "expected": write_tensors(trial.expected, self._files / "expected"),
            "budget": vars(trial.budget),
        }
        return _outcome(self._ask(request))

    def kernels(self, model: SliceModel, inputs: Mapping[str, Array], budget: TimeBudget) -> tuple[KernelTime, ...]:
        """See ``Meter``."""
        tensors = write_tensors(inputs, self._files / "inputs")
        request = {"what": "kernels", "slice": self._slice(model), "inputs": tensors, "budget": vars(budget)}
        return tuple(KernelTime(**kernel) for kernel in self._ask(request).get("kernels", ()))

    def energy(self, model: SliceModel, inputs: Mapping[str, Array], least_s: float) -> Energy:
        """See ``Meter``."""
        tensors = write_tensors(inputs, self._files / "inputs")
        request = {"what": "energy", "slice": self._slice(model), "inputs": tensors, "least_s": least_s}
        answer = self._ask(request)
        if "failure" in answer:
            raise BackendError(f"device {self._device.name}: its energy was not measured: {answer['failure']}")
        return Energy(**answer)

    def copies(self, budget: TimeBudget) -> CopyTimes | None:
        """See ``Meter``."""
        answer = self._ask({"what": "copies", "budget": vars(budget)})
        if "failure" in answer:
            raise BackendError(f"device {self._device.name}: copies could not be measured: {answer['failure']}")
        if answer["copies"] is None:
            return None
        return CopyTimes(
            **{key: tuple((int(b), float(s)) for b, s in value) for key, value in answer["copies"].items()}
        )

    def close(self) -> None:
        """Kill the child and remove its files; calling it twice is harmless."""
        self._kill()
        self._folder.cleanup()

    def _slice(self, model: SliceModel) -> Json:
        return write_slice(model, self._files / "slice.onnx")

    def _ask(self, request: Json) -> dict[str, Json]:
        """Return the child's answer; ``failure`` holds the reason if it died."""
        if self._deaths >= _DEATHS_IN_A_ROW:
            return {"failure": f"not tried: the provider crashed or hung {self._deaths} times in a row"}
        deadline = time.monotonic() + self._limit_s
        try:
            line = self._send(request, deadline)
        except BaseException:
            self._kill()  # a late answer would belong to no request
            raise
        answer = _parsed(line)
        if answer is not None:
            self._deaths = 0
            return answer
        self._deaths += 1
        return {"failure": self._how_it_died(time.monotonic() >= deadline)}

    def _send(self, request: Json, deadline: float) -> bytes:
        """Return the child's line of answer to a request, which it reads from a file."""
        (self._files / "request").write_text(json.dumps(request), encoding="utf-8")
        return self._exchange(f"{self._files / 'request'}\n".encode(), deadline)

    def _command(self) -> list[str]:
        """Return what starts the child."""
        return [sys.executable, "-P", "-m", CHILD, self._address]

    def _exchange(self, message: bytes, deadline: float) -> bytes:
        """Send a line and return the answered line; a part of it where the child dies or the time is over."""
        process = self._process or self._start()
        to_child, from_child = _pipes(process)
        with contextlib.suppress(BrokenPipeError):  # reading from a dead child reports it
            to_child.write(message)
            to_child.flush()
        return _read_line(from_child, deadline)

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._files / "stderr").open("wb") as errors:
            process = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # same import path
                start_new_session=True,  # a process group of its own: Ctrl-C reaches only this process
            )
        self._process = process
        _pipes(process)[0].write(json.dumps(device_to_json(self._device)).encode() + b"\n")
        return process

    def _how_it_died(self, too_late: bool) -> str:
        """Stop the child and return how it ended."""
        process = self._process
        code = None if process is None or too_late else _wait(process)
        self._kill()
        if code is None:
            return f"did not finish within {self._limit_s:g} s"
        last = _last_line(self._files / "stderr")
        return f"crashed the measuring process ({_exit_text(code)}){': ' + last if last else ''}"

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in _pipes(process):
            with contextlib.suppress(OSError):
                pipe.close()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """Return the pipes to the child's standard input and output."""
    if process.stdin is None or process.stdout is None:
        raise InternalError("the measuring process was started without pipes")
    return process.stdin, process.stdout


def _outcome(answer: dict[str, Json]) -> SliceMeasurement:
    if "failure" in answer:
        return SliceMeasurement(reason=str(answer["failure"]), is_lasting=False)
    try:
        differences = tuple(Difference(**each) for each in answer.pop("differences"))
        return SliceMeasurement(**answer, differences=differences)
    except (TypeError, KeyError):
        return SliceMeasurement(reason="the measuring process answered nonsense", is_lasting=False)


def _parsed(line: bytes) -> dict[str, Json] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read_line(pipe: IO[bytes], deadline: float) -> bytes:
    """Return the bytes up to a newline, the end of the stream or the deadline."""
    content = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not content.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                break
            chunk = os.read(pipe.fileno(), 1 << 16)
            if not chunk:
                break
            content += chunk
    return bytes(content)


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
