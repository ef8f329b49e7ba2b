"""A scenario with the costs of its models: all that schedulers and the simulator see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.scenarios.scenario import Group, Scenario
from mosaic_onnx.scenarios.slice_graph import SliceGraph
from mosaic_onnx.scenarios.unit_times import UNIT_TIMES_KEY, UnitTimes, read_unit_times

UNIT_KEY = "unit"
"""Key of a device's ``meta``: devices that name the same unit are configurations of one piece of hardware."""
SLOWDOWN_KEY = "slowdowns"
"""Key of a profile's ``meta``: ``{device: {other: factor}}``, how much longer slices of a device take while another
device works, as measured; an absent pair does not disturb."""


@dataclass(frozen=True, eq=False)
class ScenarioModel:
    """One model of a scenario.

    Attributes:
        name: ``group/model``.
        group: index of its group.
        table: what its layers cost.
    """

    name: str
    group: int
    table: CostTable


@dataclass(frozen=True, eq=False)
class Instance:
    """A scenario with the costs of its models. ``M`` models, ``S`` states, ``U`` units.

    A unit is what runs one slice at a time. Each device is a unit, unless several devices name the same one: they are
    configurations (threads, precision, optimisation level) of one piece of hardware and exclude each other.

    Attributes:
        scenario: what is asked.
        models: [M] in the order of the scenario's file; all tables have the same states.
        unit_names: [U] the device's name, or what several devices name as their unit.
        unit_of_state: [S] the unit that a state occupies.
        slowdown: [U][U] factor by which slices of the first unit take longer while the second works; 1 for none.
        unit_times: [U] the times around the slices of each unit.
    """

    scenario: Scenario
    models: tuple[ScenarioModel, ...]
    unit_names: tuple[str, ...]
    unit_of_state: tuple[int, ...]
    slowdown: tuple[tuple[float, ...], ...]
    unit_times: tuple[UnitTimes, ...]

    @property
    def groups(self) -> tuple[Group, ...]:
        """Return the scenario's groups."""
        return self.scenario.groups

    @cached_property
    def models_of_group(self) -> tuple[tuple[int, ...], ...]:
        """Return [group] its models' indices."""
        return tuple(
            tuple(m for m, model in enumerate(self.models) if model.group == g) for g in range(len(self.groups))
        )

    @cached_property
    def has_slowdown(self) -> bool:
        """Return whether any pair of units slows each other."""
        return any(factor != 1.0 for row in self.slowdown for factor in row)

    @cached_property
    def slice_graphs(self) -> dict[object, SliceGraph]:
        """Return the slice graphs that were made for this instance (``simulation.frame_work``)."""
        return {}

    def __getstate__(self) -> dict[str, object]:
        """Leave what is only kept out of what is sent to other processes."""
        return {key: value for key, value in vars(self).items() if key != "slice_graphs"}

    @property
    def table(self) -> CostTable:
        """Return the first model's table, for what all tables share: states and devices."""
        return self.models[0].table


def build_instance(scenario: Scenario, profiles: Sequence[Profile]) -> Instance:
    """Join a scenario with the profiles of its models, in the order of the file.

    Raises:
        ModelError: the profiles do not name the same devices, a slow-down names none of them, or a model has no layer.
        UsageError: the scenario's accelerator is none of the devices.
    """
    names = scenario.model_names
    devices = profiles[0].devices
    for name, profile in zip(names, profiles, strict=True):
        _check_devices(names[0], profiles[0], name, profile)
        if not profile.layers:
            raise ModelError(f"model {name} has no layers", "leave it out of the scenario")
        _check_known(name, profile)
    if scenario.accelerator is not None and scenario.accelerator not in [device.name for device in devices]:
        listed = ", ".join(device.name for device in devices)
        raise UsageError(f"accelerator {scenario.accelerator!r} is not a device", f"the devices are {listed}")
    group_of = [g for g, group in enumerate(scenario.groups) for _ in group.models]
    models = tuple(
        ScenarioModel(name, group, cost_table(profile))
        for name, group, profile in zip(names, group_of, profiles, strict=True)
    )
    unit_names, unit_of_state = _units(devices)
    slowdowns = _slowdowns(devices, unit_names, profiles)
    return Instance(scenario, models, unit_names, unit_of_state, slowdowns, _unit_times(devices, unit_names, profiles))


def _check_known(name: str, profile: Profile) -> None:
    """Refuse a profile with features that a scenario's simulation would pass over."""
    features = {
        "max_slice_count": any(device.max_slice_count is not None for device in profile.devices),
        "links": bool(profile.links),
        "switches[].layers": any(switch.layers for switch in profile.switches),
    }
    unknown = next((key for key, present in features.items() if present), None)
    if unknown is not None:
        raise UsageError(f"the profile of {name} has {unknown}, which scenarios do not know", "leave it out there")


def _check_devices(first_name: str, first: Profile, name: str, profile: Profile) -> None:
    """Refuse a profile whose devices are not the first one's."""
    hint = "profile all models of a scenario with the same -d"
    if profile.states != first.states:
        raise ModelError(
            f"the profiles of {first_name} and {name} name different devices: "
            f"{', '.join(first.states)} against {', '.join(profile.states)}",
            hint,
        )
    for one, other in zip(first.devices, profile.devices, strict=True):
        if (one.memory_bytes, unit_of(one)) != (other.memory_bytes, unit_of(other)):
            raise ModelError(
                f"the profiles of {first_name} and {name} do not agree on {one.name}'s memory_bytes or unit", hint
            )
    if profile.copies_occupy_device != first.copies_occupy_device:
        raise ModelError(f"the profiles of {first_name} and {name} do not agree on copies_occupy_device", hint)


def unit_of(device: Device) -> str:
    """Return the name of the unit that a device occupies."""
    return str(device.meta.get(UNIT_KEY, device.name))


def _units(devices: Sequence[Device]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the units' names, and the unit of each state."""
    names = tuple(dict.fromkeys(unit_of(device) for device in devices))
    return names, tuple(names.index(unit_of(device)) for device in devices for _ in device.states)


def _slowdowns(
    devices: Sequence[Device], unit_names: Sequence[str], profiles: Sequence[Profile]
) -> tuple[tuple[float, ...], ...]:
    """Return [U][U] the slow-downs that the profiles name; of two that name the same pair the larger."""
    unit_index = {device.name: unit_names.index(unit_of(device)) for device in devices}
    factors = [[1.0] * len(unit_names) for _ in unit_names]
    for profile in profiles:
        for device, row in (*profile.slowdowns.items(), *_rows(profile.meta.get(SLOWDOWN_KEY, {}))):
            for other, factor in _rows(row):
                if device not in unit_index or other not in unit_index:
                    raise ModelError(f"meta.{SLOWDOWN_KEY}.{device}.{other} names no device of the profile")
                if not isinstance(factor, int | float) or not factor >= 1:
                    raise ModelError(f"meta.{SLOWDOWN_KEY}.{device}.{other}: {factor!r} is not a factor from 1 on")
                one, two = unit_index[device], unit_index[other]
                if one != two:
                    factors[one][two] = max(factors[one][two], float(factor))
    return tuple(tuple(row) for row in factors)


def _unit_times(
    devices: Sequence[Device], unit_names: Sequence[str], profiles: Sequence[Profile]
) -> tuple[UnitTimes, ...]:
    """Return [U] the times around slices that the profiles name; of several for one unit the larger ones."""
    unit_index = {device.name: unit_names.index(unit_of(device)) for device in devices}
    found = [UnitTimes()] * len(unit_names)
    for profile in profiles:
        for device, value in _rows(profile.meta.get(UNIT_TIMES_KEY, {}), UNIT_TIMES_KEY):
            where = f"meta.{UNIT_TIMES_KEY}.{device}"
            if device not in unit_index:
                raise ModelError(f"{where} names no device of the profile")
            found[unit_index[device]] = found[unit_index[device]].at_least(read_unit_times(value, where))
    return tuple(found)


def _rows(value: object, key: str = SLOWDOWN_KEY) -> list[tuple[str, object]]:
    """Return the items of an object in ``meta``.

    Raises:
        ModelError: it is not an object.
    """
    if not isinstance(value, Mapping):
        raise ModelError(f"meta.{key}: {value!r} is not an object", "docs/scenarios.md has an example")
    return [(str(key), item) for key, item in value.items()]
