"""Search, measure the slices that the best schedule uses, search again with what they really take; then rehearse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.core.progress import Note
from mosaic_onnx.passes.base import run_pass
from mosaic_onnx.passes.measurement.measure_slices import MeasureSlices
from mosaic_onnx.pipeline.site.profiled import ProfiledScenario
from mosaic_onnx.pipeline.site.rehearsal import rehearsed
from mosaic_onnx.profiling.measure_slices import Choice
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.solve import OURS, Scheduled, SchedulingOptions, judged_again, schedule_instance

MOST_ROUNDS = 4


def schedule_measured(
    profiled: ProfiledScenario, options: SchedulingOptions, note: Note
) -> tuple[ProfiledScenario, Instance, Scheduled]:
    """Schedule a scenario on its devices.

    Args:
        profiled: the scenario.
        options: by which scheduler, how long; the time limit is shared by the rounds.
        note: told of slices that fail, and where rounds end early.

    Returns:
        The scenario with what was measured in its profiles, its costs, and the schedule.

    Raises:
        InfeasibleError: no schedule can run.
    """
    limit_s = options.search.time_limit_s / (MOST_ROUNDS if options.scheduler == OURS else 1)
    limited = replace(options, search=replace(options.search, time_limit_s=limit_s))
    for _ in range(MOST_ROUNDS):
        instance = profiled.instance
        scheduled = schedule_instance(instance, limited, note)
        measured = measure_schedule(profiled, instance, scheduled.schedule, note)
        if measured is None:
            break
        profiled = measured
    else:
        instance = profiled.instance
        note(f"the schedule still changed after {MOST_ROUNDS} rounds of measuring its slices")
        scheduled = schedule_instance(instance, limited, note)
    return _in_company(profiled, instance, scheduled, options, note)


def _in_company(
    profiled: ProfiledScenario, instance: Instance, scheduled: Scheduled, options: SchedulingOptions, note: Note
) -> tuple[ProfiledScenario, Instance, Scheduled]:
    """Run the schedule, and judge it and the baselines by what slices take in company."""
    raised = rehearsed(profiled, instance, scheduled.schedule, scheduled.multiplier, note)
    if raised is profiled:
        return profiled, instance, scheduled
    again = judged_again(raised.instance, scheduled, options)
    return raised, raised.instance, again


def measure_schedule(
    profiled: ProfiledScenario, instance: Instance, schedule: Schedule, note: Note
) -> ProfiledScenario | None:
    """Measure the slices of a schedule that were not; None where all were.

    Slices of neighbouring layers alone can be measured whole; simulated devices say all there is to know. A slice that
    fails is taken from its device.
    """
    wanted: dict[Path, dict[Choice, None]] = {}
    paths = [entry.path for group in instance.groups for entry in group.models]
    simulated = {device.name for device in profiled.state(0).profile.devices if device.simulated}
    states = instance.table.state_names
    for path, model, proposal in zip(paths, instance.models, schedule.proposals, strict=True):
        for layers, state in proposal:
            first, last = layers[0], layers[-1]
            is_known = (first, last, state) in model.table.segments or device_of(states[state]) in simulated
            if layers == tuple(range(first, last + 1)) and not is_known:
                wanted.setdefault(path, {})[first, last, states[state]] = None
    profiles = {path: state.profile for path, state in profiled.states.items()}
    changed = False
    for path, choices in wanted.items():
        work = replace(profiled.states[path], wanted=tuple(choices))
        measured = run_pass(MeasureSlices(), work).measured
        profile = replace(profiles[path], segments=(*profiles[path].segments, *measured.segments))
        for (first, last, name), reason in measured.reasons.items():
            note(f"{path.name}: layers {first} to {last} cannot run on {name} as one slice: {reason}")
            profile = _without(profile, first, name, reason)
        changed = changed or profile != profiles[path]
        profiles[path] = profile
    return profiled.with_profiles(profiles) if changed else None


def _without(profile: Profile, layer: int, state: str, reason: str) -> Profile:
    """Return the profile in which a state cannot run a layer."""
    one = profile.layers[layer]
    lacking = replace(one, cost={**one.cost, state: None}, reasons={**one.reasons, state: reason})
    return replace(profile, layers=(*profile.layers[:layer], lacking, *profile.layers[layer + 1 :]))
