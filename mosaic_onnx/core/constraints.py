"""Constraints that the user adds to a profile: pins, forbids and caps. Errors name the constraints that conflict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mosaic_onnx.core.cost_tables.feasibility import Rules, check_feasible
from mosaic_onnx.core.cost_tables.quantiles import at_quantile
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.options import option
from mosaic_onnx.core.profiles import Profile, ProfileLayer

Rule = tuple[str, str]
"""(regular expression, device name)"""


@dataclass(frozen=True)
class Constraints:
    """Constraints of the user on a plan, beyond those in the profile.

    A rule's regular expression is searched in the layer's name and in the names of its nodes (``^conv1$`` for exactly
    one).

    Attributes:
        pins: layers that match run on that device; one layer's pins must name one device.
        forbids: layers that match do not run on that device.
        memory_bytes: by device, takes the place of its ``memory_bytes``.
        slice_memory_bytes: by device, takes the place of its ``slice_memory_bytes``.
        max_slice_counts: by device, takes the place of its ``max_slice_count``.
        quantile: plan for this quantile of every layer's seconds instead of their usual value (see ``at_quantile``).
    """

    pins: tuple[Rule, ...] = option(
        (), "Layers whose name or node matches run there, nowhere else.", "--pin", metavar="REGEX=DEVICE", words="rules"
    )
    forbids: tuple[Rule, ...] = option(
        (), "Matching layers never run there.", "--forbid", metavar="REGEX=DEVICE", words="rules"
    )
    memory_bytes: Mapping[str, int] = option(
        dict, "Cap on all slices of a device.", "--memory", metavar="DEVICE=AMOUNT", words="caps"
    )
    slice_memory_bytes: Mapping[str, int] = option(
        dict, "Cap on each slice of a device.", "--slice-memory", metavar="DEVICE=AMOUNT", words="caps"
    )

    max_slice_counts: Mapping[str, int] = option(
        dict, "At most K slices on a device.", "--max-slices-on", metavar="DEVICE=K", words="counts"
    )
    quantile: float | None = option(
        None, "Plan for this quantile of each layer's time (profile: seconds_std).", "--quantile", metavar="0.9"
    )

    def as_fields(self) -> dict[str, object]:
        """Return the constraints that are set, as the plan file's ``constraints`` object."""
        fields: dict[str, object] = {
            "pins": [list(rule) for rule in self.pins],
            "forbids": [list(rule) for rule in self.forbids],
            "memory_bytes": dict(self.memory_bytes),
            "slice_memory_bytes": dict(self.slice_memory_bytes),
            "max_slice_counts": dict(self.max_slice_counts),
            "quantile": self.quantile,
        }
        return {key: value for key, value in fields.items() if value}


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
