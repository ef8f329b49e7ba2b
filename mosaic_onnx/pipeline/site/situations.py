"""Schedules for what may happen while a site is served: one for each device that may go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.core.progress import Note
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.site.folder import Site, read_site, write_site
from mosaic_onnx.pipeline.site.profiled import ProfiledScenario
from mosaic_onnx.scenarios.solve import SchedulingOptions, schedule_instance

SITUATIONS = "situations"


def write_situations(profiled: ProfiledScenario, options: SchedulingOptions, folder: Path, note: Note) -> None:
    """Schedule a scenario without each of its devices in turn, and write each as a site inside a site's folder.

    Args:
        profiled: the scenario, with what was measured.
        options: by which scheduler, how long for each.
        folder: of the site.
        note: told which device cannot be spared.

    Raises:
        OutputsDifferError: a model's slices do not compute what the model computes.
    """
    for device in profiled.state(0).profile.devices:
        lacking = without_device(profiled, device.name)
        try:
            instance = lacking.instance
            scheduled = schedule_instance(instance, options, note)
        except InfeasibleError as error:
            note(f"{device.name} cannot be spared: {error.message}")
            continue
        target = folder / SITUATIONS / f"without-{device.name}.mosaic"
        write_site(lacking, instance, scheduled, target)


def without_device(profiled: ProfiledScenario, device: str) -> ProfiledScenario:
    """Return the scenario in which a device runs nothing."""
    states: dict[Path, State] = {
        path: replace(state, profile=_without(state.profile, device)) for path, state in profiled.states.items()
    }
    return replace(profiled, states=states)


def read_situations(folder: Path) -> dict[frozenset[str], Site]:
    """Read the sites of a site's folder, by the devices that are gone; the site itself by none.

    Raises:
        ModelError: one of them is damaged.
    """
    found = {frozenset[str](): read_site(folder)}
    for path in sorted((folder / SITUATIONS).glob("without-*.mosaic")):
        found[frozenset({path.name.removeprefix("without-").removesuffix(".mosaic")})] = read_site(path)
    return found


def _without(profile: Profile, device: str) -> Profile:
    layers = tuple(
        replace(
            layer,
            cost={state: cost for state, cost in layer.cost.items() if device_of(state) != device},
            reasons={**layer.reasons, **dict.fromkeys(_states(profile, device), "the device is gone")},
        )
        for layer in profile.layers
    )
    segments = tuple(one for one in profile.segments if device_of(one.state) != device)
    return replace(profile, layers=layers, segments=segments)


def _states(profile: Profile, device: str) -> list[str]:
    return [state for state in profile.states if device_of(state) == device]
