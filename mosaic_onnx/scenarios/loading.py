"""From a scenario file to an instance: profiles are read, models are profiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.profile_file import read_profile
from mosaic_onnx.scenarios.scenario import Scenario

ProfileModel = Callable[[Path], Profile]


def load_profiles(scenario: Scenario, profile_model: ProfileModel, *, has_devices: bool = False) -> tuple[Profile, ...]:
    """Return the profile of each model, in the order of the file; a file that stands twice is read or profiled once.

    Args:
        scenario: whose models.
        profile_model: profiles an ONNX model.
        has_devices: devices were named; then profiles cannot stand in for models, since they name their own.

    Raises:
        ModelError: a file is missing or wrong.
        UsageError: devices were named and all models are profiles.
    """
    entries = [entry for group in scenario.groups for entry in group.models]
    if has_devices and all(entry.is_profile for entry in entries):
        raise UsageError("-d names devices, but every model of the scenario is a profile", "leave -d out")
    known: dict[tuple[Path, bool], Profile] = {}
    for entry in entries:
        key = entry.path, entry.is_profile
        if key not in known:
            known[key] = read_profile(entry.path) if entry.is_profile else profile_model(entry.path)
    return tuple(known[entry.path, entry.is_profile] for entry in entries)
