"""Infeasibility checks before planning: layers without a device, groups without a common device, memory caps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.core.text.quantities import bytes_text

NAMED = 4
"""Messages name at most this many layers, and give the number of the others."""


class Rules(NamedTuple):
    """The user's rules that match one layer, as (regular expression, device)."""

    pins: tuple[tuple[str, str], ...] = ()
    forbids: tuple[tuple[str, str], ...] = ()


def check_feasible(profile: Profile, rules: Mapping[int, Rules] | None = None) -> None:
    """Look for a small set of layers that no plan can satisfy: one layer, one group, the layers bound to one device.

    Args:
        profile: the profile, with the user's rules already in ``allowed``.
        rules: the rules that match each layer, by its index, for the message.

    Raises:
        InfeasibleError: naming the set and the reason. Finding none does not prove that a plan exists.
    """
    rules = rules or {}
    for number, layer in enumerate(profile.layers):
        if not any(_can_hold(profile, layer, device) for device in profile.devices):
            hint = _hint(profile, layer, rules.get(number))
            raise InfeasibleError(_no_device(profile, layer, rules.get(number, Rules())), hint)
    for members in _groups(profile):
        _check_group(profile, members, rules)
    for device in profile.devices:
        _check_bound_to(profile, device)


def runs(layer: ProfileLayer, device: Device) -> bool:
    """Return whether some state of the device can run the layer and is allowed to."""
    return _is_allowed(layer, device) and any(layer.cost.get(state) is not None for state in device.states)


def _is_allowed(layer: ProfileLayer, device: Device) -> bool:
    return layer.allowed is None or device.name in layer.allowed


def _can_hold(profile: Profile, layer: ProfileLayer, device: Device) -> bool:
    """Return whether the device can run the layer as a slice of its own."""
    caps = [cap for cap in (device.slice_memory_bytes, device.memory_bytes) if cap is not None]
    if not runs(layer, device):
        return False
    return not caps or _least_bytes(profile, layer, device) <= min(caps)


def _least_bytes(profile: Profile, layer: ProfileLayer, device: Device) -> int:
    """Return the bytes of the layer as a slice of its own, in the state of the device that needs the fewest."""
    tensors = {*layer.inputs, *layer.outputs}
    live = sum(profile.tensor_bytes[name] for name in tensors)
    made = sum(profile.tensor_bytes[name] for name in layer.outputs)

    def of(cost: Cost) -> int:
        own = layer.activation_bytes if cost.activation_bytes is None else cost.activation_bytes
        activations = live if device.activation_memory == "live" else made if own is None else own
        return _parameters(layer, cost) + _workspace(layer, cost) + activations

    return min(of(cost) for state in device.states if (cost := layer.cost.get(state)) is not None)


def _parameters(layer: ProfileLayer, cost: Cost) -> int:
    return layer.parameter_bytes if cost.parameter_bytes is None else cost.parameter_bytes


def _workspace(layer: ProfileLayer, cost: Cost) -> int:
    return layer.workspace_bytes if cost.workspace_bytes is None else cost.workspace_bytes


def _no_device(profile: Profile, layer: ProfileLayer, rules: Rules) -> str:
    """Return why no device can run this layer."""
    pinned = sorted({device for _, device in rules.pins})
    if len(pinned) > 1:
        said = " and ".join(f"to {device} by '{pattern}'" for pattern, device in rules.pins)
        return f"layer {layer.name}: pinned {said}"
    if pinned:
        clash = next((pattern for pattern, device in rules.forbids if device == pinned[0]), None)
        if clash is not None:
            return f"layer {layer.name}: pinned to {pinned[0]} by '{rules.pins[0][0]}', forbidden there by '{clash}'"
        device = next(device for device in profile.devices if device.name == pinned[0])
        return f"layer {layer.name}: pinned to {device.name}, {_why_not(profile, layer, device)}"
    forbidden = {device: pattern for pattern, device in rules.forbids}
    why = [
        f"{device.name} is forbidden by '{forbidden[device.name]}'"
        if device.name in forbidden
        else _why_not(profile, layer, device)
        for device in profile.devices
    ]
    return f"layer {layer.name}: no device can run it: {'; '.join(why) or 'there are no devices'}"


def _why_not(profile: Profile, layer: ProfileLayer, device: Device) -> str:
    """Return why one device cannot run this layer."""
    if not any(layer.cost.get(state) is not None for state in device.states):
        reasons = dict.fromkeys(layer.reasons[state] for state in device.states if layer.reasons.get(state))
        what = ", ".join(dict.fromkeys(layer.op_types)) or "it"
        return f"{device.name} cannot run {what}" + (f": {', '.join(reasons)}" if reasons else "")
    if not _is_allowed(layer, device):
        return f"{device.name} is not among its allowed devices"
    need = _least_bytes(profile, layer, device)
    slice_cap, device_cap = device.slice_memory_bytes, device.memory_bytes
    if slice_cap is not None and need > slice_cap:
        return f"it needs {bytes_text(need)} alone, slice_memory_bytes of {device.name} is {bytes_text(slice_cap)}"
    return f"it needs {bytes_text(need)} alone, memory_bytes of {device.name} is {bytes_text(device_cap or 0)}"


def _hint(profile: Profile, layer: ProfileLayer, rules: Rules | None) -> str:
    """Return the way out for a layer that no device can run: the cap that is in the way, the rules, a device."""
    if rules and (rules.pins or rules.forbids):
        return "loosen --pin or --forbid"
    capped = next((device for device in profile.devices if runs(layer, device)), None)
    if capped is None:
        return "add a device that can run it"
    need = _least_bytes(profile, layer, capped)
    flag = "--memory" if capped.memory_bytes is not None and need > capped.memory_bytes else "--slice-memory"
    return f"raise the cap: {flag} {capped.name}={need} is the least for this layer alone"


def _groups(profile: Profile) -> Iterable[list[int]]:
    """Return the layers of each group."""
    groups: dict[str, list[int]] = {}
    for number, layer in enumerate(profile.layers):
        if layer.group:
            groups.setdefault(layer.group, []).append(number)
    return groups.values()


def _check_group(profile: Profile, members: list[int], rules: Mapping[int, Rules]) -> None:
    """Raise ``InfeasibleError`` if no device runs all layers of a group, naming layers that exclude each other."""
    able = {n: {d.name for d in profile.devices if _can_hold(profile, profile.layers[n], d)} for n in members}
    if set.intersection(*able.values()):
        return
    chosen: list[int] = []
    for number in sorted(members, key=lambda n: len(able[n])):
        if not chosen or not set.intersection(*(able[n] for n in chosen)) <= able[number]:
            chosen.append(number)
        if not set.intersection(*(able[n] for n in chosen)):
            break
    said = "; ".join(f"{profile.layers[n].name} only on {', '.join(sorted(able[n]))}" for n in chosen)
    ruled = any(rules.get(n, Rules()) != Rules() for n in chosen)
    raise InfeasibleError(
        f"layers of group {profile.layers[members[0]].group} must share a device: {said}",
        "loosen --pin or --forbid" if ruled else "",
    )


def _check_bound_to(profile: Profile, device: Device) -> None:
    """Raise ``InfeasibleError`` if the layers that only this device can run exceed its memory together."""
    if device.memory_bytes is None:
        return
    bound = list(_bound_to(profile, device))
    total = 0
    for count, (parameters, _) in enumerate(bound, 1):
        total += parameters
        if total > device.memory_bytes:
            names = ", ".join(name for _, name in bound[: min(count, NAMED)])
            more = f" and {count - NAMED} more" if count > NAMED else ""
            raise InfeasibleError(
                f"layers {names}{more} can only run on {device.name}: their parameters take {bytes_text(total)}, "
                f"its memory_bytes is {bytes_text(device.memory_bytes)}",
                f"raise --memory {device.name}=…, or let another device run some of them",
            )


def _bound_to(profile: Profile, device: Device) -> Iterator[tuple[int, str]]:
    """Yield (parameter bytes, name) of the layers that only this device can run, largest first."""
    found = [
        (min(_parameters(layer, cost) for state in device.states if (cost := layer.cost.get(state))), layer.name)
        for layer in profile.layers
        if [other.name for other in profile.devices if _can_hold(profile, layer, other)] == [device.name]
    ]
    yield from sorted(found, key=lambda one: -one[0])
