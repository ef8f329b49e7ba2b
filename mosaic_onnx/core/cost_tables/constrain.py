"""Put a profile under constraints. Errors name the constraints that conflict."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from mosaic_onnx.core.constraints import Constraints, Rule
from mosaic_onnx.core.cost_tables.feasibility import Rules, check_feasible
from mosaic_onnx.core.cost_tables.quantiles import at_quantile
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import Profile, ProfileLayer


def constrain(profile: Profile, constraints: Constraints) -> Profile:
    """Return the profile under the constraints: fewer allowed devices, other caps, costs at a quantile.

    Raises:
        UsageError: a rule or a cap names no device of the profile, or a rule matches no layer.
        InfeasibleError: some layers cannot run anywhere now; the message names a smallest such set and why.
    """
    _check_devices(profile, constraints)
    pins, forbids = _compiled(constraints.pins, "--pin"), _compiled(constraints.forbids, "--forbid")
    rules: dict[int, Rules] = {}
    layers = []
    for number, layer in enumerate(profile.layers):
        found = Rules(_matching(pins, layer), _matching(forbids, layer))
        if found.pins or found.forbids:
            rules[number] = found
        layers.append(_restricted(profile, layer, found))
    _check_used([*pins, *forbids], rules.values())
    devices = tuple(
        replace(
            device,
            memory_bytes=constraints.memory_bytes.get(device.name, device.memory_bytes),
            slice_memory_bytes=constraints.slice_memory_bytes.get(device.name, device.slice_memory_bytes),
            max_slice_count=constraints.max_slice_counts.get(device.name, device.max_slice_count),
        )
        for device in profile.devices
    )
    constrained = replace(profile, layers=tuple(layers), devices=devices)
    if constraints.quantile is not None:
        constrained = at_quantile(constrained, constraints.quantile)
    check_feasible(constrained, rules)
    return constrained


def _check_devices(profile: Profile, constraints: Constraints) -> None:
    """Raise ``UsageError`` if a constraint names a device that the profile does not have."""
    names = [device.name for device in profile.devices]
    said = [
        *(("pin", device) for _, device in constraints.pins),
        *(("forbid", device) for _, device in constraints.forbids),
        *(("memory cap", device) for device in constraints.memory_bytes),
        *(("slice memory cap", device) for device in constraints.slice_memory_bytes),
        *(("limit on slices", device) for device in constraints.max_slice_counts),
    ]
    for what, device in said:
        if device not in names:
            raise UsageError(f"a {what} names device {device!r}", f"the profile's devices are {', '.join(names)}")


def _compiled(rules: Iterable[Rule], flag: str) -> list[tuple[re.Pattern[str], Rule]]:
    """Return the rules with their expressions compiled."""
    compiled = []
    for pattern, device in rules:
        try:
            compiled.append((re.compile(pattern), (pattern, device)))
        except re.error as error:
            raise UsageError(f"{flag} {pattern!r} is not a regular expression: {error}") from error
    return compiled


def _matching(rules: Iterable[tuple[re.Pattern[str], Rule]], layer: ProfileLayer) -> tuple[Rule, ...]:
    """Return the rules that match the layer's name or one of its nodes'."""
    names = (layer.name, *layer.nodes)
    return tuple(rule for pattern, rule in rules if any(pattern.search(name) for name in names))


def _check_used(rules: Iterable[tuple[re.Pattern[str], Rule]], found: Iterable[Rules]) -> None:
    """Raise ``UsageError`` if a rule matches no layer: it is most likely misspelt."""
    used = {rule for one in found for rule in (*one.pins, *one.forbids)}
    for _, rule in rules:
        if rule not in used:
            raise UsageError(
                f"'{rule[0]}={rule[1]}' matches no layer and no node", "`mosaic-onnx inspect` lists their names"
            )


def _restricted(profile: Profile, layer: ProfileLayer, rules: Rules) -> ProfileLayer:
    """Return the layer with ``allowed`` restricted to the devices that its rules permit."""
    if not rules.pins and not rules.forbids:
        return layer
    pinned = {device for _, device in rules.pins}
    forbidden = {device for _, device in rules.forbids}
    allowed = tuple(
        device.name
        for device in profile.devices
        if (layer.allowed is None or device.name in layer.allowed)
        and pinned <= {device.name}
        and device.name not in forbidden
    )
    return replace(layer, allowed=allowed)
