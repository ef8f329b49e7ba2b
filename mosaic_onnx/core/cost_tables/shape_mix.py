"""Several shapes of one model as one profile: one placement whose cost is the weighted sum of the shapes' costs.

The weights of a model stay where they are, whatever comes in (a decoder that reads a prompt and then makes tokens one
by one). So there is one placement, and a sequential plan's seconds in the mixed profile are the weighted sum of its
seconds in each shape's: executions, copies, switches and overheads are all sums. (Where a direct link is cheaper than
the way by host for one shape and dearer for another, the mixed profile takes the way that is cheaper for the sum.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import (
    Cost,
    LayerSwitchCost,
    Link,
    MeasuredSlice,
    Profile,
    ProfileLayer,
    SwitchCost,
    TensorTransferCost,
    TransferCost,
)


@dataclass(frozen=True)
class WeighedShape:
    """One shape's profile, and how often it runs for each time that the others run as often as their weights say."""

    profile: Profile
    weight: float


def mixed_shapes(shapes: Sequence[WeighedShape], name: str = "") -> Profile:
    """Return one profile whose seconds and joules are the weighted sums of the shapes', and whose bytes their largest.

    A measured slice counts where every shape has it. Each tensor's transfer has its own figure.

    Args:
        shapes: profiles of the same layers on the same devices, with weights above 0.
        name: of the model; by default the first profile's.

    Raises:
        UsageError: there is none, a weight is not above 0, or the profiles are of other layers, devices or links.
    """
    if not shapes:
        raise UsageError("no shape is given")
    for shape in shapes:
        if not 0 < shape.weight < float("inf"):
            raise UsageError(f"the weight of a shape is {shape.weight:g}: it must be a number above 0")
    first = shapes[0].profile
    for number, shape in enumerate(shapes[1:], 1):
        _check_same(first, shape.profile, number)
    total = sum(shape.weight for shape in shapes)
    return replace(
        first,
        model_name=name or first.model_name,
        devices=tuple(
            replace(one, slice_seconds=one.slice_seconds * total, slice_joules=one.slice_joules * total)
            for one in first.devices
        ),
        tensor_bytes={
            tensor: max(shape.profile.tensor_bytes[tensor] for shape in shapes) for tensor in first.tensor_bytes
        },
        layers=tuple(_layer([(shape.profile.layers[k], shape.weight) for shape in shapes]) for k in _places(first)),
        copies=tuple(_copy(shapes, k) for k in range(len(first.copies))),
        switches=tuple(
            _switch([(shape.profile.switches[k], shape.weight) for shape in shapes]) for k in range(len(first.switches))
        ),
        segments=_segments(shapes),
        links=tuple(
            Link(one.between, tensors=_transfers(shapes, [shape.profile.links[k] for shape in shapes]), meta=one.meta)
            for k, one in enumerate(first.links)
        ),
        meta={**first.meta, "shape_weights": [shape.weight for shape in shapes]},
    )


def _places(profile: Profile) -> range:
    return range(len(profile.layers))


def _check_same(first: Profile, other: Profile, number: int) -> None:
    """Check whether two profiles differ in costs and bytes alone.

    Raises:
        UsageError: naming what differs.
    """
    parts: Mapping[str, Callable[[Profile], object]] = {
        "devices": lambda one: one.devices,
        "tensors": lambda one: list(one.tensor_bytes),
        "inputs": lambda one: one.inputs,
        "outputs": lambda one: one.outputs,
        "layers": lambda one: [(each.name, each.inputs, each.outputs, each.group, each.allowed) for each in one.layers],
        "copies": lambda one: [(each.source, each.destination) for each in one.copies],
        "switches": lambda one: [(each.device, each.source, each.destination) for each in one.switches],
        "copies_occupy_device": lambda one: one.copies_occupy_device,
        "exclusive devices": lambda one: one.exclusive,
        "slow-downs": lambda one: one.slowdowns,
        "links": lambda one: [each.between for each in one.links],
    }
    for words, part in parts.items():
        if part(first) != part(other):
            raise UsageError(
                f"profile {number + 1} is of no other shape of the same model: its {words} are not those of the first",
                "profile one model on the same devices, at each shape",
            )


def _layer(shapes: Sequence[tuple[ProfileLayer, float]]) -> ProfileLayer:
    """Return one layer; a state that cannot run it in some shape cannot run it."""
    first = shapes[0][0]
    costs: dict[str, Cost | None] = {}
    for state in first.cost:
        found = [(layer.cost.get(state), weight) for layer, weight in shapes]
        known = [(cost, weight) for cost, weight in found if cost is not None]
        costs[state] = _cost(known) if len(known) == len(found) else None
    layers = [layer for layer, _ in shapes]
    return replace(
        first,
        cost=costs,
        parameter_bytes=max(layer.parameter_bytes for layer in layers),
        workspace_bytes=max(layer.workspace_bytes for layer in layers),
        activation_bytes=_largest(layer.activation_bytes for layer in layers),
    )


def _cost(shapes: Sequence[tuple[Cost, float]]) -> Cost:
    costs = [cost for cost, _ in shapes]
    joules = [None if cost.joules is None else cost.joules * weight for cost, weight in shapes]
    return replace(
        costs[0],
        seconds=sum(cost.seconds * weight for cost, weight in shapes),
        joules=None if None in joules else sum(each for each in joules if each is not None),
        parameter_bytes=_largest(cost.parameter_bytes for cost in costs),
        workspace_bytes=_largest(cost.workspace_bytes for cost in costs),
        activation_bytes=_largest(cost.activation_bytes for cost in costs),
        error=max((cost.error for cost in costs if cost.error is not None), default=None),
        seconds_std=sum(cost.seconds_std * weight for cost, weight in shapes),
    )


def _largest(counts: Iterable[int | None]) -> int | None:
    """Return the largest of the bytes that are given; None where none is."""
    return max((count for count in counts if count is not None), default=None)


def _copy(shapes: Sequence[WeighedShape], number: int) -> TransferCost:
    """Return one link with the weighted sum for every tensor."""
    first = shapes[0].profile.copies[number]
    tensors = _transfers(shapes, [shape.profile.copies[number] for shape in shapes])
    return TransferCost(first.source, first.destination, tensors=tensors, meta=first.meta)


def _transfers(shapes: Sequence[WeighedShape], entries: Sequence[TransferCost | Link]) -> dict[str, TensorTransferCost]:
    """Return the weighted sum of every tensor's costs by one entry of each shape."""
    tensors = {}
    for tensor in shapes[0].profile.tensor_bytes:
        seconds = joules = 0.0
        for shape, entry in zip(shapes, entries, strict=True):
            one_s, one_j = _transfer(shape.profile, entry, tensor)
            seconds, joules = seconds + shape.weight * one_s, joules + shape.weight * one_j
        tensors[tensor] = TensorTransferCost(seconds, joules or None)
    return tensors


def _transfer(profile: Profile, copy: TransferCost | Link, tensor: str) -> tuple[float, float]:
    """Return seconds and joules of one tensor by one entry."""
    own = copy.tensors.get(tensor, TensorTransferCost())
    count = profile.tensor_bytes[tensor]
    seconds = copy.seconds_per_byte * count + copy.seconds if own.seconds is None else own.seconds
    return seconds, copy.joules_per_byte * count + copy.joules if own.joules is None else own.joules


def _switch(shapes: Sequence[tuple[SwitchCost, float]]) -> SwitchCost:
    names = dict.fromkeys(name for switch, _ in shapes for name in switch.layers)
    layers = {}
    for name in names:
        seconds = joules = 0.0
        for switch, weight in shapes:
            own = switch.layers.get(name, LayerSwitchCost())
            seconds += weight * (switch.seconds if own.seconds is None else own.seconds)
            joules += weight * (switch.joules if own.joules is None else own.joules)
        layers[name] = LayerSwitchCost(seconds, joules)
    return replace(
        shapes[0][0],
        seconds=sum(switch.seconds * weight for switch, weight in shapes),
        joules=sum(switch.joules * weight for switch, weight in shapes),
        layers=layers,
    )


def _segments(shapes: Sequence[WeighedShape]) -> tuple[MeasuredSlice, ...]:
    """Return the measured slices that all shapes have."""
    tables = [{(one.first, one.last, one.state): one for one in shape.profile.segments} for shape in shapes]
    kept = []
    for key, first in tables[0].items():
        if not all(key in table for table in tables):
            continue
        found = [(table[key], shape.weight) for table, shape in zip(tables, shapes, strict=True)]
        joules = [None if one.joules is None else one.joules * weight for one, weight in found]
        kept.append(
            replace(
                first,
                seconds=sum(one.seconds * weight for one, weight in found),
                joules=None if None in joules else sum(each for each in joules if each is not None),
                seconds_std=sum(one.seconds_std * weight for one, weight in found),
            )
        )
    return tuple(kept)
