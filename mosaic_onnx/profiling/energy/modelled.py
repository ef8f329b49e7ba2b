"""Energy where no meter can be read: declared watts times measured seconds (MOSAIC, Equations 4 and 5).

The joules are marked ``modelled`` in the profile; the seconds are not changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import Cost, MeasuredSlice, Profile, ProfileLayer
from mosaic_onnx.profiling.energy.watts import Watts
from mosaic_onnx.profiling.estimators.power import dynamic_scale


def with_modelled_energy(profile: Profile, declared: Mapping[str, Watts]) -> Profile:
    """Return the profile with joules from declared watts; a profile that has joules stays as it is.

    A layer's joules are its dynamic power (Equation 5 scales it with V²f from the highest level) times its seconds; the
    device's idle power counts over the whole run, as ``idle_w`` of the device.

    Args:
        profile: with seconds.
        declared: by device name.

    Raises:
        UsageError: a device of the profile has no declared power, or a name is not a device of the profile.
    """
    if any(cost.joules is not None for layer in profile.layers for cost in layer.cost.values() if cost):
        return profile
    names = [device.name for device in profile.devices]
    unknown = next((name for name in declared if name not in names), None)
    if unknown is not None:
        raise UsageError(f"--watts names {unknown!r}, which takes no part", f"devices: {', '.join(names)}")
    missing = [name for name in names if name not in declared]
    if missing:
        raise UsageError(f"no power is declared of {', '.join(missing)}", f"add --watts {missing[0]}=IDLE,BUSY")
    watts = {state: busy for device in profile.devices for state, busy in _dynamic_w(device, declared[device.name])}
    return replace(
        profile,
        devices=tuple(replace(device, idle_w=declared[device.name].idle_w) for device in profile.devices),
        layers=tuple(_with_joules(layer, watts) for layer in profile.layers),
        segments=tuple(_slice_with_joules(one, watts) for one in profile.segments),
        meta={**profile.meta, "energy": {"source": "modelled", "watts": {n: vars(w) for n, w in declared.items()}}},
    )


def _dynamic_w(device: Device, declared: Watts) -> list[tuple[str, float]]:
    """Return {state: dynamic power}: all of it at the highest level, scaled by V²f at others."""
    busy_w = declared.busy_w - declared.idle_w
    if not device.levels:
        return [(device.name, busy_w)]
    highest: Level = device.levels[-1]
    scales = [dynamic_scale(level, highest) for level in device.levels]
    return [(state, busy_w * scale) for state, scale in zip(device.states, scales, strict=True)]


def _with_joules(layer: ProfileLayer, watts: Mapping[str, float]) -> ProfileLayer:
    cost: dict[str, Cost | None] = {
        state: None if one is None else replace(one, joules=watts[state] * one.seconds)
        for state, one in layer.cost.items()
    }
    return replace(layer, cost=cost)


def _slice_with_joules(measured: MeasuredSlice, watts: Mapping[str, float]) -> MeasuredSlice:
    return replace(measured, joules=watts[measured.state] * measured.seconds)
