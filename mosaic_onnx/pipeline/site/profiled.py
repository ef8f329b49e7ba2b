"""The models of a scenario, opened and profiled on the devices; each file once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.core.progress import Note, say_nothing
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.pipelines import PROFILE
from mosaic_onnx.profiling.progress import Progress
from mosaic_onnx.scenarios.instance import SLOWDOWN_KEY, Instance, build_instance
from mosaic_onnx.scenarios.scenario import Scenario
from mosaic_onnx.scenarios.unit_times import UNIT_TIMES_KEY, UnitTimes

Slowdowns = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class ProfiledScenario:
    """A scenario whose models are open and profiled.

    Attributes:
        scenario: what is asked.
        states: by file, the pipeline's state after profiling.
        slowdowns: by device, by other device, how much longer its slices take while the other works.
        unit_times: by device, the times around its slices; empty where they were not measured.
    """

    scenario: Scenario
    states: Mapping[Path, State]
    slowdowns: Slowdowns
    unit_times: Mapping[str, UnitTimes] = field(default_factory=dict)

    def state(self, model: int) -> State:
        """Return the state of a model, counted through all groups."""
        return self.states[self._paths[model]]

    @property
    def _paths(self) -> list[Path]:
        return [entry.path for group in self.scenario.groups for entry in group.models]

    def with_profiles(self, profiles: Mapping[Path, Profile]) -> ProfiledScenario:
        """Return the same with other profiles."""
        states = {path: replace(state, profile=profiles[path]) for path, state in self.states.items()}
        return replace(self, states=states)

    @property
    def instance(self) -> Instance:
        """Return the scenario with costs."""
        unit_times = {device: one.as_fields() for device, one in self.unit_times.items()}
        meta = {SLOWDOWN_KEY: self.slowdowns, UNIT_TIMES_KEY: unit_times}
        profiles = {path: replace(state.profile, meta=meta) for path, state in self.states.items()}
        return build_instance(self.scenario, [profiles[path] for path in self._paths])


def profile_scenario(
    scenario: Scenario,
    selection: Selection,
    cache: Cache | None = None,
    note: Note = say_nothing,
    progress: Progress | None = None,
) -> ProfiledScenario:
    """Profile every model of a scenario; slow-downs are not measured here.

    Raises:
        ModelError: a model is refused.
        UsageError: a model is given as a profile, which cannot be run.
        BackendError: a device failed.
    """
    states: dict[Path, State] = {}
    for group in scenario.groups:
        for entry in group.models:
            if entry.is_profile:
                raise UsageError(
                    f"{group.name}/{entry.name} is a profile, which cannot be run", "name the model, or leave -o out"
                )
            if entry.path not in states:
                start = State(entry.path, selection, cache, note, progress)
                states[entry.path] = run_passes(PROFILE, start)
    return ProfiledScenario(scenario, states, {})
