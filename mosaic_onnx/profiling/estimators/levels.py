"""Estimate all levels from a profile at the lowest and highest level, and the error of that (leaving levels out)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.profiling.estimators.execution import fit_levels
from mosaic_onnx.profiling.estimators.power import StaticPower, dynamic_power_w, no_static_power, power_w

Statics = Mapping[str, StaticPower]
"""Static power by device name; a device that is absent has none."""


@dataclass(frozen=True)
class LevelErrors:
    """Errors of the middle levels of one device when only its lowest and highest were profiled.

    Attributes:
        device: its name.
        seconds: predicted / given - 1 of every layer and middle level.
        joules: the same of the energy; empty where the profile has none.
    """

    device: str
    seconds: tuple[float, ...]
    joules: tuple[float, ...] = ()

    @property
    def mean_seconds_error(self) -> float:
        """Return the mean absolute relative error of the seconds."""
        return _mean_absolute(self.seconds)

    @property
    def worst_seconds_error(self) -> float:
        """Return the largest absolute relative error of the seconds."""
        return max(map(abs, self.seconds), default=0.0)


def fill_levels(profile: Profile, statics: Statics | None = None) -> Profile:
    """Return the profile with the levels between lowest and highest estimated (Equations 3 to 5).

    Given costs stay; estimated ones have ``source = "modelled"``. A layer without a cost at the lowest or the highest
    level of a device gets no estimate there, and levels that are no frequencies (an NPU's dataflows) get none at all.
    Energy is estimated where both ends have joules.

    Args:
        profile: with costs at the lowest and highest level of each device that has levels.
        statics: static power by device.
    """
    devices = [
        device
        for device in profile.devices
        if len(device.levels) > 2 and all(level.frequency_hz for level in device.levels)
    ]
    return replace(profile, layers=tuple(_filled(layer, devices, statics or {}) for layer in profile.layers))


def leave_levels_out(profile: Profile, statics: Statics | None = None) -> tuple[LevelErrors, ...]:
    """Estimate every middle level from the two ends and compare with the profile's costs.

    Args:
        profile: with costs at all levels of each device that has levels.
        statics: static power by device.
    """
    found = []
    for device in profile.devices:
        if len(device.levels) <= 2:
            continue
        static = (statics or {}).get(device.name) or no_static_power(device)
        pairs = [
            (layer.cost[_state(device, level)], cost)
            for layer in profile.layers
            for level, cost in _middle_levels(layer, device, static)
            if layer.cost.get(_state(device, level))
        ]
        found.append(
            LevelErrors(
                device.name,
                tuple(cost.seconds / given.seconds - 1 for given, cost in pairs if given and given.seconds),
                tuple(
                    cost.joules / given.joules - 1 for given, cost in pairs if given and cost.joules and given.joules
                ),
            )
        )
    return tuple(found)


def _filled(layer: ProfileLayer, devices: list[Device], statics: Statics) -> ProfileLayer:
    cost = dict(layer.cost)
    for device in devices:
        if all(cost.get(state) for state in device.states):
            continue
        static = statics.get(device.name) or no_static_power(device)
        for level, estimated in _middle_levels(layer, device, static):
            if not cost.get(_state(device, level)):
                cost[_state(device, level)] = estimated
    return replace(layer, cost=cost) if cost != layer.cost else layer


def _middle_levels(layer: ProfileLayer, device: Device, static: StaticPower) -> list[tuple[Level, Cost]]:
    """Return the estimated costs of the middle levels; empty where an end is missing or took no time."""
    lowest, highest = device.levels[0], device.levels[-1]
    low, high = layer.cost.get(_state(device, lowest)), layer.cost.get(_state(device, highest))
    if low is None or high is None or low.seconds <= 0 or high.seconds <= 0:
        return []
    line = fit_levels([(lowest.frequency_hz, low.seconds), (highest.frequency_hz, high.seconds)])
    dynamic_w = None
    if high.joules is not None:
        dynamic_w = dynamic_power_w(high.joules / high.seconds, static.at(highest))
    estimated = []
    for level in device.levels[1:-1]:
        seconds = line.predict(level.frequency_hz)
        joules = None if dynamic_w is None else power_w(level, highest, dynamic_w, static) * seconds
        estimated.append((level, replace(high, seconds=seconds, joules=joules, error=None, source="modelled")))
    return estimated


def _state(device: Device, level: Level) -> str:
    return f"{device.name}@{level.name}"


def _mean_absolute(values: tuple[float, ...]) -> float:
    return float(np.mean(np.abs(values))) if values else 0.0
