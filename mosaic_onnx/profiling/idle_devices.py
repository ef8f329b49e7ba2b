"""Devices that took part in profiling and run no layer: the user must hear of them and why."""

from __future__ import annotations

from mosaic_onnx.core.profiles import Profile


def idle_devices(profile: Profile) -> dict[str, str]:
    """Return, by name of each device that runs none of the layers, the reason of the first that tells one."""
    found = {}
    for device in profile.devices:
        if any(layer.cost.get(state) is not None for layer in profile.layers for state in device.states):
            continue
        names = (*device.states, device.name)
        told = (
            f"{layer.name}: {layer.reasons[name]}"
            for layer in profile.layers
            for name in names
            if name in layer.reasons
        )
        found[device.name] = next(told, "no reason is known")
    return found
