"""Compose a profile from what was found of each state: measured, stated by a description, or refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.layers import Layer, LayerGraph
from mosaic_onnx.core.profiles import Copy, Cost, Profile, ProfileLayer, Segment
from mosaic_onnx.profiling.aggregate import StateCosts

_INTERRUPTED = "not measured: interrupted"


@dataclass(frozen=True)
class StateResult:
    """What is known of one state.

    Attributes:
        state: its name.
        costs: by layer.
        reasons: by layer, why the state cannot run it.
        segments: measured slices.
        slice_s: seconds added once per slice that was not measured; None keeps the device's own.
    """

    state: str
    costs: Mapping[int, Cost] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    slice_s: float | None = None


@dataclass(frozen=True)
class Identity:
    """What model a profile is of."""

    name: str
    sha256: str | None = None


def measured_result(state: str, costs: StateCosts, refused: Mapping[int, str], layer_count: int) -> StateResult:
    """The result of a survey; layers that it did not come to are refused with that word."""
    reasons = dict(refused)
    for layer in range(layer_count):
        if layer not in costs.layer_s:
            reasons.setdefault(layer, _INTERRUPTED)
    alone = {layer: {"alone_s": seconds} for layer, seconds in costs.alone_s.items()}
    return StateResult(
        state,
        {
            layer: Cost(
                seconds,
                workspace_bytes=costs.workspace_bytes.get(layer),
                error=costs.error.get(layer),
                meta=alone.get(layer, {}),
            )
            for layer, seconds in costs.layer_s.items()
            if layer not in refused
        },
        reasons,
        _segments(state, costs),
        costs.slice_s,
    )


def unmeasured_result(state: str, layer_count: int) -> StateResult:
    """The result of a state that measuring did not come to."""
    return StateResult(state, reasons=dict.fromkeys(range(layer_count), _INTERRUPTED))


def _segments(state: str, costs: StateCosts) -> tuple[Segment, ...]:
    """Measured slices: stretches, and layers that were measured alone."""
    alone = {(layer, layer): seconds for layer, seconds in costs.alone_s.items()}
    return tuple(Segment(*span, state, seconds) for span, seconds in sorted({**alone, **costs.segments}.items()))


def compose(
    identity: Identity,
    graph: LayerGraph,
    devices: Sequence[Device],
    results: Sequence[StateResult],
    copies: Iterable[Copy] = (),
    meta: Mapping[str, object] | None = None,
) -> Profile:
    """The profile.

    Args:
        identity: what model it is of.
        graph: its layers.
        devices: those that take part, with the levels that were measured.
        results: one for each of their states.
        copies: what copying between host and devices costs.
        meta: facts for people.
    """
    results, meta = _energy_for_all_or_none(results, dict(meta or {}))
    slice_s = {device_of(one.state): one.slice_s for one in results if one.slice_s is not None}
    return Profile(
        model_name=identity.name,
        model_sha256=identity.sha256,
        devices=tuple(
            dataclasses.replace(device, slice_seconds=slice_s.get(device.name, device.slice_seconds))
            for device in devices
        ),
        tensor_bytes={name: tensor.bytes for name, tensor in graph.tensors.items()},
        inputs=graph.inputs,
        outputs=graph.outputs,
        layers=tuple(_layer(layer, index, results) for index, layer in enumerate(graph.layers)),
        copies=tuple(copies),
        segments=tuple(segment for one in results for segment in one.segments),
        meta=meta,
    )


def _layer(layer: Layer, index: int, results: Sequence[StateResult]) -> ProfileLayer:
    return ProfileLayer(
        name=layer.name,
        inputs=layer.inputs,
        outputs=layer.outputs,
        cost={one.state: one.costs.get(index) for one in results},
        reasons={one.state: one.reasons[index] for one in results if index in one.reasons},
        parameter_bytes=layer.parameter_bytes,
        activation_bytes=layer.activation_bytes,
        nodes=layer.nodes,
        op_types=layer.op_types,
    )


def _energy_for_all_or_none(
    results: Sequence[StateResult], meta: dict[str, object]
) -> tuple[Sequence[StateResult], dict[str, object]]:
    """A profile gives joules for every cost or for none: measured devices have none, described ones may."""
    given = {cost.joules is not None for one in results for cost in one.costs.values()}
    if given != {True, False}:
        return results, meta
    stripped = [
        dataclasses.replace(
            one,
            costs={layer: dataclasses.replace(cost, joules=None) for layer, cost in one.costs.items()},
            segments=tuple(dataclasses.replace(segment, joules=None) for segment in one.segments),
        )
        for one in results
    ]
    return stripped, {**meta, "energy": "left out: only some of the devices have it"}
