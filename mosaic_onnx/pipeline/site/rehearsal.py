"""Run a schedule on its devices for a while, and learn how much longer its slices take in company than alone.

Alone, a slice is measured again and again: it finds its weights in the caches. In a schedule other models have run
there since. What other devices cost that work at the same time is measured apart (``slowdowns``) and taken out here;
what passes between slices is learnt too (``unit_times``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.profiles import Cost, Profile
from mosaic_onnx.core.progress import Note
from mosaic_onnx.isolation.backend import in_process
from mosaic_onnx.pipeline.site.profiled import ProfiledScenario, Slowdowns
from mosaic_onnx.pipeline.site.serve import scaled
from mosaic_onnx.pipeline.site.unit_times import measured_unit_times, undisturbed_mean
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.profile_plan import plan_of_slices
from mosaic_onnx.runtime.opening import held_cores, load_plan
from mosaic_onnx.runtime.workers import Workers
from mosaic_onnx.scenarios.instance import Instance, unit_of
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.serving.frame import Frame, SliceSpan
from mosaic_onnx.scenarios.serving.model_runner import ModelRunner
from mosaic_onnx.scenarios.serving.server import ScenarioServer, ServingOrder

COMPANY_KEY = "company"
"""Meta key of a profile: by state, the factor by which its costs were raised."""
SECONDS = 5.0
ROOM = 1.3
"""The periods of a rehearsal are so many times the least that are predicted to be kept, so that frames complete."""
FEWEST_SPANS = 5
"""A slice that ran less often says nothing."""
Factors = Mapping[Path, Mapping[str, float]]
"""By model file, by state, what its slices took in company over what they take alone."""


def rehearsed(
    profiled: ProfiledScenario, instance: Instance, schedule: Schedule, multiplier: float, note: Note
) -> ProfiledScenario:
    """Return the scenario with every cost raised to what it is in company, and the times between slices.

    With simulated devices it is as it was.

    All costs of a model on a device are raised by the same factor, so that no schedule looks better than it was.

    Args:
        profiled: the scenario.
        instance: its costs.
        schedule: what is run.
        multiplier: the least one that the schedule is predicted to keep.
        note: told where the schedule does not run.
    """
    if any(device.simulated for device in profiled.state(0).profile.devices):
        return profiled
    try:
        frames = run_schedule(profiled, instance, schedule, ROOM * multiplier)
    except BackendError as error:
        note(f"the schedule could not be rehearsed: {error.message}")
        return profiled
    factors = company_factors(profiled, instance, schedule, frames)
    unit_of_device = {device.name: unit_of(device) for device in profiled.state(0).profile.devices}
    return replace(
        profiled.with_profiles(
            {path: _raised(state.profile, factors.get(path, {})) for path, state in profiled.states.items()}
        ),
        unit_times=measured_unit_times(frames, unit_of_device),
    )


def run_schedule(
    profiled: ProfiledScenario, instance: Instance, schedule: Schedule, multiplier: float, seconds: float = SECONDS
) -> tuple[Frame, ...]:
    """Return the frames of a while of serving.

    Raises:
        BackendError: a slice cannot be loaded.
    """
    devices = profiled.state(0).profile.devices
    by_name = {device.name: device for device in devices}
    pairs = [(a.name, b.name) for a, b in combinations(devices, 2) if unit_of(a) == unit_of(b)]
    with ExitStack() as stack:
        workers = Workers(by_name, held_cores(by_name), pairs)
        runners = {}
        for m, proposal in enumerate(schedule.proposals):
            state = profiled.state(m).with_cutter()
            plan = plan_of_slices(state.profile, Request(schedule="concurrent"), "rehearsal", proposal)
            loaded = load_plan(
                state.cutter(state.profile, plan).tuned,
                plan,
                by_name,
                in_process(state.selection.backends),
                inputs=tuple(state.inputs),
                outputs=state.outputs,
            )
            stack.callback(loaded.close)
            runners[instance.models[m].name] = ModelRunner(instance.models[m].name, loaded, workers, state.inputs)
        order = ServingOrder(tuple(instance.models[m].name for m in schedule.priority), schedule.policy)
        groups = scaled(instance.groups, multiplier)
        server = stack.enter_context(
            ScenarioServer(groups, runners, order, workers, list(by_name), drop=instance.scenario.drop)
        )
        server.serve_for(seconds)
        return server.frames


def company_factors(
    profiled: ProfiledScenario, instance: Instance, schedule: Schedule, frames: Sequence[Frame]
) -> Factors:
    """Return how much longer slices took than alone, by model file and state; states that ran nothing have the mean."""
    taken = undisturbed_seconds(frames, profiled.slowdowns)
    sums: dict[Path, dict[str, tuple[float, float]]] = {}
    paths = [entry.path for group in instance.groups for entry in group.models]
    for path, model, proposal in zip(paths, instance.models, schedule.proposals, strict=True):
        profile = profiled.states[path].profile
        plan = plan_of_slices(profile, Request(schedule="concurrent"), "rehearsal", proposal)
        for k, one in enumerate(plan.slices):
            spans = taken.get((model.name, k), [])
            alone_s = one.end_s - one.start_s
            if len(spans) >= FEWEST_SPANS and alone_s > 0:
                row = sums.setdefault(path, {})
                before = row.get(one.state, (0.0, 0.0))
                row[one.state] = before[0] + undisturbed_mean(spans), before[1] + alone_s
    everything = [pair for row in sums.values() for pair in row.values()]
    mean = sum(pair[0] for pair in everything) / sum(pair[1] for pair in everything) if everything else 1.0
    return {
        path: {name: _factor(sums.get(path, {}).get(name), mean) for name in state.profile.states}
        for path, state in profiled.states.items()
    }


def undisturbed_seconds(frames: Sequence[Frame], slowdowns: Slowdowns) -> dict[tuple[str, int], list[float]]:
    """Return by model and slice the seconds of every run, less what devices beside it cost.

    A device that works for a share of the slice's time stretches it by that share of its slow-down; of several, the
    shares add up.
    """
    by_device: dict[str, list[SliceSpan]] = {}
    for frame in frames:
        for span in frame.spans:
            by_device.setdefault(span.device, []).append(span)
    for spans in by_device.values():
        spans.sort(key=lambda span: span.start_s)
    found: dict[tuple[str, int], list[float]] = {}
    for frame in frames:
        for span in frame.spans if frame.completion_s is not None else ():
            lasted_s = span.end_s - span.start_s
            if lasted_s <= 0:
                continue
            stretch = 1.0
            for other, factor in slowdowns.get(span.device, {}).items():
                stretch += (factor - 1.0) * _overlap_s(span, by_device.get(other, ())) / lasted_s
            found.setdefault((frame.model, span.slice), []).append(lasted_s / stretch)
    return found


def _overlap_s(span: SliceSpan, others: Sequence[SliceSpan]) -> float:
    """Return for how long any of the others, which lie one after the other in time, ran beside a span."""
    overlap_s, at = 0.0, max(0, bisect_left(others, span.start_s, key=lambda one: one.start_s) - 1)
    while at < len(others) and others[at].start_s < span.end_s:
        overlap_s += max(0.0, min(span.end_s, others[at].end_s) - max(span.start_s, others[at].start_s))
        at += 1
    return overlap_s


def _factor(pair: tuple[float, float] | None, mean: float) -> float:
    """Return a factor of at least 1: what is faster in company than alone was measured with noise."""
    return max(1.0, mean if pair is None else pair[0] / pair[1])


def _raised(profile: Profile, factors: Mapping[str, float]) -> Profile:
    """Return the profile with the seconds of each state raised by its factor."""

    def raised(state: str, cost: Cost | None) -> Cost | None:
        return None if cost is None else replace(cost, seconds=cost.seconds * factors.get(state, 1.0))

    return replace(
        profile,
        layers=tuple(
            replace(layer, cost={state: raised(state, cost) for state, cost in layer.cost.items()})
            for layer in profile.layers
        ),
        segments=tuple(replace(one, seconds=one.seconds * factors.get(one.state, 1.0)) for one in profile.segments),
        meta={**profile.meta, COMPANY_KEY: dict(factors)},
    )
