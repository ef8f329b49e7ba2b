"""A run of a scenario as a Chrome trace (ui.perfetto.dev): a lane a device, a colour a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mosaic_onnx.scenarios.serving.frame import Frame

COLOURS = (
    "thread_state_running",
    "rail_response",
    "rail_animation",
    "rail_idle",
    "rail_load",
    "cq_build_attempt_passed",
    "cq_build_attempt_failed",
    "thread_state_iowait",
    "startup",
)
"""Names of colours that the trace format reserves."""


def scenario_trace(frames: Iterable[Frame], models: Sequence[str], devices: Sequence[str]) -> dict[str, Any]:
    """Return every slice of every frame as a trace.

    Args:
        frames: those that are over.
        models: ``group/model``, for their colours.
        devices: in the order to show.
    """
    thread_of = {device: number + 1 for number, device in enumerate(devices)}
    colour_of = {model: COLOURS[number % len(COLOURS)] for number, model in enumerate(models)}
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": 1, "tid": thread, "name": key, "args": {argument: value}}
        for device, thread in thread_of.items()
        for key, argument, value in (("thread_name", "name", device), ("thread_sort_index", "sort_index", thread))
    ]
    for frame in frames:
        for span in frame.spans:
            events.append(
                {
                    "ph": "X",
                    "pid": 1,
                    "tid": thread_of[span.device],
                    "name": f"{frame.model} slice {span.slice}",
                    "cat": frame.model,
                    "cname": colour_of.get(frame.model, COLOURS[0]),
                    "ts": span.start_s * 1e6,
                    "dur": (span.end_s - span.start_s) * 1e6,
                    "args": {"frame": frame.number, "late": frame.is_late},
                }
            )
    return {"traceEvents": events, "displayTimeUnit": "ms"}
