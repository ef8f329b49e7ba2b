"""Changes of a machine that a user supposes, as words: ``npu×2``, ``link×0.5``, ``npu+Resize``, joined by commas."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mosaic_onnx.analysis.what_if import MissingOperator, with_operators
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, TensorTransferCost, TransferCost

LINK = "link"
"""In place of a device: the copies between all devices and host; ``link:npu`` those that name npu."""
_FACTOR = re.compile(r"(?P<what>.+?)\s*[×x*]\s*(?P<factor>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)")
HINT = "write 'npu×2' (twice as fast), 'link×0.5' or 'link:npu×2' (copies), 'npu+Resize' (it runs Resize)"


@dataclass(frozen=True)
class Faster:
    """A device's layers, or copies, take 1/factor of their time; joules stay.

    Attributes:
        device: whose; empty for all copies.
        factor: above 0; below 1 it is slower.
        is_link: the copies change, not the layers.
    """

    device: str
    factor: float
    is_link: bool = False


@dataclass(frozen=True)
class AddedOperators:
    """A device that runs operators which it refuses."""

    device: str
    op_types: tuple[str, ...]


Change = Faster | AddedOperators


def parse_changes(word: str, profile: Profile) -> tuple[Change, ...]:
    """Return the changes of one what-if.

    Raises:
        UsageError: it is no change, or names no device of the profile.
    """
    return tuple(_parse(part.strip(), word, [device.name for device in profile.devices]) for part in word.split(","))


def _parse(part: str, word: str, names: list[str]) -> Change:
    found = _FACTOR.fullmatch(part)
    if found is not None:
        what, factor = found["what"].strip(), float(found["factor"])
        if not factor > 0:
            raise UsageError(f"--what-if '{word}': the factor must be above 0", HINT)
        if what == LINK and what not in names:
            return Faster("", factor, is_link=True)
        is_link = what.startswith(f"{LINK}:") and what not in names
        device = what.removeprefix(f"{LINK}:") if is_link else what
        return Faster(_known(device, word, names), factor, is_link)
    device = next((name for name in sorted(names, key=len, reverse=True) if part.startswith(f"{name}+")), "")
    operators = tuple(part[len(device) + 1 :].split("+")) if device else ()
    if not operators or not all(operators):
        unknown = part.partition("+")[0]
        if "+" in part and unknown not in names:
            _known(unknown, word, names)
        raise UsageError(f"--what-if '{word}' is no change", HINT)
    return AddedOperators(device, operators)


def _known(device: str, word: str, names: list[str]) -> str:
    if device not in names:
        raise UsageError(f"--what-if '{word}' names no device: {device!r}", f"the devices are {', '.join(names)}")
    return device


def with_change(profile: Profile, base: Plan, change: Change) -> tuple[Profile, str]:
    """Return the profile of the changed machine, and what was assumed for it, in words (empty for nothing).

    Args:
        profile: of the machine as it is.
        base: a plan of it, from which the times of added operators are taken.
        change: what is supposed.

    Raises:
        UsageError: it changes nothing: no copies, no layers with such operators, or their speed is unknown.
    """
    if isinstance(change, AddedOperators):
        return _with_operators(profile, base, change)
    return (_with_faster_copies if change.is_link else _with_faster_device)(profile, change), ""


def _with_faster_device(profile: Profile, change: Faster) -> Profile:
    def faster(layer: ProfileLayer) -> ProfileLayer:
        costs: dict[str, Cost | None] = {}
        for state, cost in layer.cost.items():
            mine = cost is not None and device_of(state) == change.device
            costs[state] = replace(cost, seconds=cost.seconds / change.factor) if mine and cost is not None else cost
        return replace(layer, cost=costs)

    segments = tuple(
        replace(one, seconds=one.seconds / change.factor) if device_of(one.state) == change.device else one
        for one in profile.segments
    )
    return replace(profile, layers=tuple(map(faster, profile.layers)), segments=segments)


def _with_faster_copies(profile: Profile, change: Faster) -> Profile:
    def is_meant(copy: TransferCost) -> bool:
        return not change.device or change.device in (device_of(copy.source), device_of(copy.destination))

    if not any(is_meant(copy) for copy in profile.copies):
        where = f" of {change.device}" if change.device else ""
        raise UsageError(f"the profile has no copies{where}, so a faster link changes nothing")

    def faster(copy: TransferCost) -> TransferCost:
        tensors = {
            name: TensorTransferCost(
                None if one.seconds is None else one.seconds / change.factor, one.joules, meta=one.meta
            )
            for name, one in copy.tensors.items()
        }
        return replace(
            copy,
            seconds_per_byte=copy.seconds_per_byte / change.factor,
            seconds=copy.seconds / change.factor,
            tensors=tensors,
        )

    return replace(profile, copies=tuple(faster(copy) if is_meant(copy) else copy for copy in profile.copies))


def _with_operators(profile: Profile, base: Plan, change: AddedOperators) -> tuple[Profile, str]:
    device = next(device for device in profile.devices if device.name == change.device)
    runs = {
        op
        for layer in profile.layers
        if any(layer.cost.get(state) is not None for state in device.states)
        for op in layer.op_types
    }
    asked = set(change.op_types)
    layers = tuple(
        number
        for number, layer in enumerate(profile.layers)
        if asked.intersection(layer.op_types)
        and set(layer.op_types) <= runs | asked
        and all(layer.cost.get(state) is None for state in device.states)
    )
    words = "+".join(change.op_types)
    if not layers:
        raise UsageError(
            f"'{change.device}+{words}' changes nothing: {change.device} refuses no layer for want of {words} alone"
        )
    state_of = {layer: item.state for item in base.slices for layer in item.layers}
    changed, assumed = with_operators(profile, state_of, MissingOperator(words, change.device, layers))
    if changed is None:
        raise UsageError(f"'{change.device}+{words}': the speed of {change.device} is unknown, no layer runs on both")
    return changed, f"{len(layers)} layers: {assumed}"
