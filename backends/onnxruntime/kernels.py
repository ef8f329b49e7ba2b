"""Kernel times from ONNX Runtime's profiler: the whole slice runs, each kernel is timed, the fastest run counts."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mosaic_onnx.backends.base import Array, KernelTime, Runner
from mosaic_onnx.backends.onnxruntime.runner import OrtRunner
from mosaic_onnx.backends.onnxruntime.session import MEMORY_SUFFIX

_MIN_RUNS = 3
_MAX_RUNS = 100
_MAX_EVENTS = 400_000
"""ONNX Runtime's profiler stops recording at 1,000,000 events; two or three come with each kernel."""
_KERNEL = "_kernel_time"
_HASH = re.compile(r"_\d+$")


RECORDING_PREFIX = "kernels"
"""The beginning of the names of the files in a recording session's folder."""


class RecordingOrtRunner(OrtRunner):
    """A loaded slice of the CPU provider that records its kernels until they are asked for."""

    def __init__(
        self,
        session: Any,
        label: str,
        caller_cores: frozenset[int] | None,
        folder: tempfile.TemporaryDirectory[str],
        node_count: int,
    ) -> None:
        """Take over a session that records.

        Args:
            session: the ``ort.InferenceSession``.
            label: its name in messages: slice and device.
            caller_cores: cores to which the calling thread is pinned during a run.
            folder: where it records; removed with the recording.
            node_count: nodes of the slice: a recording holds only so many events.
        """
        super().__init__(session, label, caller_cores)
        self._folder = folder
        self._node_count = node_count
        self._is_recording = True

    def kernels(self, inputs: Mapping[str, Array], budget_s: float) -> tuple[KernelTime, ...]:
        """Run until the budget is spent, at least three times, and end the recording; see ``RecordingRunner``."""
        run_repeatedly(self, inputs, self._node_count, budget_s)
        self._is_recording = False
        times = Path(self._open_session().end_profiling())
        return read_kernels(times, Path(self._folder.name, RECORDING_PREFIX + MEMORY_SUFFIX))

    def close(self) -> None:
        """Release memory and threads, and what was recorded; calling it twice is harmless."""
        if self._is_recording and self._session is not None:
            self._is_recording = False
            self._session.end_profiling()
        super().close()
        self._folder.cleanup()  # not before: kernels' memory is written there with every run


def run_repeatedly(runner: Runner, inputs: Mapping[str, Array], node_count: int, budget_s: float) -> None:
    """Run a slice whose session records, until the budget is spent, at least three times."""
    max_runs = max(2, min(_MAX_RUNS, _MAX_EVENTS // (3 * max(1, node_count))))
    started, run_count = time.perf_counter(), 0
    while run_count < max_runs and (run_count < _MIN_RUNS or time.perf_counter() - started < budget_s):
        runner.run(inputs)
        run_count += 1


def recording_folder() -> tempfile.TemporaryDirectory[str]:
    """Create a temporary folder for the files of a recording session, and yield it."""
    return tempfile.TemporaryDirectory(prefix="mosaic-kernels-")


def read_kernels(times: Path, memory: Path) -> tuple[KernelTime, ...]:
    """Return the kernels in the files that a recording session wrote, in the order of their last run.

    Args:
        times: the profiler's file.
        memory: the file of the kernels' memory; absent where this onnxruntime writes none.
    """
    with times.open(encoding="utf-8", errors="replace") as lines:
        kernels = kernels_of(_events(lines))
    workspace_bytes = workspaces(memory.read_text(errors="replace").splitlines()) if memory.is_file() else {}
    return tuple(replace(kernel, workspace_bytes=workspace_bytes.get(kernel.name, 0)) for kernel in kernels)


def workspaces(lines: Iterable[str]) -> dict[str, int]:
    """Return the scratch memory of each kernel that uses any, from lines ``NAME_HASH,…,total_temp_allocations``."""
    found = {}
    for line in lines:
        name, *numbers = line.rsplit(",", 4)
        if len(numbers) == 4 and numbers[-1].isdigit() and int(numbers[-1]):
            found[_HASH.sub("", name)] = int(numbers[-1])
    return found


@dataclass(frozen=True)
class Event:
    """One recorded run of one kernel, in microseconds; ``node_index`` tells kernels of equal name apart."""

    name: str
    node_index: str
    start_us: int
    duration_us: int


def kernels_of(events: Iterable[Event]) -> tuple[KernelTime, ...]:
    """Return the least time of each kernel, in the order in which they run.

    Kernels of a loop's body are recorded within the loop's own time, and count as part of it.
    """
    least: dict[str, Event] = {}
    order: dict[str, int] = {}
    end_us = -1
    for event in sorted(events, key=lambda event: (event.start_us, -event.duration_us)):
        if event.start_us < end_us and event.start_us + event.duration_us <= end_us:
            continue
        end_us = event.start_us + event.duration_us
        known = least.get(event.node_index)
        if known is None or event.duration_us < known.duration_us:
            least[event.node_index] = event
        order[event.node_index] = event.start_us
    kernels = sorted(least, key=lambda index: order[index])
    return tuple(KernelTime(least[index].name, least[index].duration_us * 1e-6) for index in kernels)


def _events(lines: Iterable[str]) -> Iterator[Event]:
    """Return the kernel events of the profiler's file: a JSON array with one event per line."""
    for line in lines:
        if _KERNEL not in line:
            continue
        try:
            event = json.loads(line.strip().rstrip(","))
        except ValueError:
            continue
        name = event["name"]
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            index = event.get("args", {}).get("node_index", name)
            yield Event(name.removesuffix(_KERNEL), index, int(event["ts"]), int(event["dur"]))
