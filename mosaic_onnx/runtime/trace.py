"""The trace of a run: spans by device, and their Chrome/Perfetto form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["slice", "transfer", "input", "output"]


@dataclass(frozen=True)
class Span:
    """One thing that a lane did without a break.

    Attributes:
        name: slice or tensor.
        kind: execution of a slice, transfer of a tensor, or copying the caller's inputs in and outputs out.
        lane: device name, or ``host`` for what the calling thread does.
        start_s: since the run began.
        end_s: since the run began.
        slice: index of the slice that it belongs to; None for inputs and outputs.
        bytes: bytes moved; 0 for slices.
    """

    name: str
    kind: Kind
    lane: str
    start_s: float
    end_s: float
    slice: int | None = None
    bytes: int = 0

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Trace:
    """One run.

    Attributes:
        spans: ordered by start.
        seconds: from the call to its return.
    """

    spans: tuple[Span, ...]
    seconds: float

    def slice_seconds(self, slice_count: int) -> tuple[float, ...]:
        """[slice] execution time, transfers left out."""
        seconds = [0.0] * slice_count
        for span in self.spans:
            if span.kind == "slice" and span.slice is not None:
                seconds[span.slice] += span.seconds
        return tuple(seconds)

    @property
    def transfer_seconds(self) -> float:
        """Time spent on transfers between memories, all lanes together."""
        return sum(span.seconds for span in self.spans if span.kind == "transfer")


def chrome_trace(traces: Sequence[Trace], lanes: Sequence[str], process: str = "mosaic-onnx") -> dict[str, Any]:
    """Runs as a Chrome trace (opens in ui.perfetto.dev and chrome://tracing), one after the other, a lane a device.

    Args:
        traces: the runs.
        lanes: device names in the order to show; ``host`` stands above them where it did anything.
        process: name of the whole.
    """
    order = ["host", *(lane for lane in lanes if lane != "host")]
    used = {span.lane for trace in traces for span in trace.spans}
    thread_of = {lane: number for number, lane in enumerate(order) if lane in used or lane != "host"}
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": process}},
        *(
            {"ph": "M", "pid": 1, "tid": thread, "name": key, "args": {arg: value}}
            for lane, thread in thread_of.items()
            for key, arg, value in (("thread_name", "name", lane), ("thread_sort_index", "sort_index", thread))
        ),
    ]
    start = 0.0
    for run, trace in enumerate(traces):
        events += [_event(span, start, run, thread_of) for span in trace.spans]
        start += trace.seconds
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _event(span: Span, run_start_s: float, run: int, thread_of: dict[str, int]) -> dict[str, Any]:
    args: dict[str, Any] = {"run": run}
    if span.slice is not None:
        args["slice"] = span.slice
    if span.bytes:
        args["bytes"] = span.bytes
    return {
        "ph": "X",
        "pid": 1,
        "tid": thread_of[span.lane],
        "name": span.name,
        "cat": span.kind,
        "ts": (run_start_s + span.start_s) * 1e6,
        "dur": span.seconds * 1e6,
        "args": args,
    }
