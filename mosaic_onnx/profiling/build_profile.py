"""Compose a profile from the results of each state: measured, stated by a description, or refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.layers import Layer, LayerGraph
from mosaic_onnx.core.profiles import Cost, MeasuredSlice, Profile, ProfileLayer, TransferCost
from mosaic_onnx.profiling.aggregate import StateCosts

_INTERRUPTED = "not measured: interrupted"


@dataclass(frozen=True)
class StateResult:
    """The result of one state.

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
    segments: tuple[MeasuredSlice, ...] = ()
    slice_s: float | None = None


@dataclass(frozen=True)
class ModelIdentity:
    """The identity of a profile's model."""

    name: str
    sha256: str | None = None


def measured_result(state: str, costs: StateCosts, refused: Mapping[int, str], layer_count: int) -> StateResult:
    """Return the result of a measured state; layers that were not reached are refused as interrupted."""
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
    """Return the result of a state that was not measured because of an interruption."""
    return StateResult(state, reasons=dict.fromkeys(range(layer_count), _INTERRUPTED))


def _segments(state: str, costs: StateCosts) -> tuple[MeasuredSlice, ...]:
    """Return the measured slices, and the layers that were measured alone."""
    alone = {(layer, layer): seconds for layer, seconds in costs.alone_s.items()}
    return tuple(MeasuredSlice(*span, state, seconds) for span, seconds in sorted({**alone, **costs.segments}.items()))


def compose_profile(
    identity: ModelIdentity,
    graph: LayerGraph,
    devices: Sequence[Device],
    results: Sequence[StateResult],
    copies: Iterable[TransferCost] = (),
    meta: Mapping[str, object] | None = None,
) -> Profile:
    """Return the profile of a model.

    Args:
        identity: the model's name and digest.
        graph: its layers.
        devices: those that take part, with the levels that were measured.
        results: one for each of their states.
        copies: costs of transfers between host and devices.
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
    """Return the results without joules if only some have them: a profile gives joules for all costs or none."""
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
