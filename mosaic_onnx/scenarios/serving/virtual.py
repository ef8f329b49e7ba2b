"""A scenario served by a virtual clock: the simulator's frames, in the form of those that ran."""

from __future__ import annotations

from collections.abc import Sequence

from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.serving.frame import Frame, SliceSpan
from mosaic_onnx.scenarios.simulation.arrivals import Arrivals, arrivals_within
from mosaic_onnx.scenarios.simulation.events import INF, Run, simulate_schedule
from mosaic_onnx.scenarios.simulation.frame_work import slice_graphs


def serve_virtually(instance: Instance, schedule: Schedule, seconds: float, seed: int = 0) -> tuple[Frame, ...]:
    """Simulate the requests of a stretch of time; every frame with its slices.

    Args:
        instance: the scenario with the periods to be served.
        schedule: its slices and their order.
        seconds: requests arrive for so long.
        seed: of the jitter.
    """
    arrivals = arrivals_within(instance.scenario, seconds, seed)
    run = simulate_schedule(instance, schedule, slice_graphs(instance, schedule), arrivals, traced=True)
    return frames_of(instance, run, arrivals)


def frames_of(instance: Instance, run: Run, arrivals: Arrivals) -> tuple[Frame, ...]:
    """Return the frames of a traced simulation, in the order of their arrivals."""
    spans: dict[tuple[int, int], list[SliceSpan]] = {}
    for span in run.spans:
        name = instance.unit_names[span.unit]
        spans.setdefault((span.model, span.frame), []).append(SliceSpan(span.slice, name, span.start_s, span.end_s))
    frames = []
    for m, model in enumerate(instance.models):
        times: Sequence[float] = arrivals.arrival_s[model.group]
        for number, (arrival_s, completion_s) in enumerate(zip(times, run.completion_s[m], strict=True)):
            frame = Frame(model.name, number, arrival_s, arrival_s + arrivals.deadline_s[model.group])
            frame.spans = tuple(spans.get((m, number), ()))
            if completion_s < INF:
                frame.completion_s = completion_s
            else:
                frame.drop()
            frames.append(frame)
    return tuple(sorted(frames, key=lambda frame: frame.arrival_s))
