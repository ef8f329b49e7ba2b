"""Layers with times but without a graph, as runtimes' profilers write them; they are joined as a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer

CHAIN = "chain assumed: the file holds no graph, so each layer is taken to read what the one before it made"


@dataclass(frozen=True)
class TimedLayer:
    """One line of a runtime's profile.

    Attributes:
        seconds: by device name.
        output_bytes: bytes of its outputs; 0 where unknown.
    """

    name: str
    seconds: Mapping[str, float]
    op_types: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    parameter_bytes: int = 0
    output_bytes: int = 0


def chain_profile(
    model_name: str,
    devices: Sequence[str],
    layers: Sequence[TimedLayer],
    input_bytes: int,
    meta: Mapping[str, object],
) -> Profile:
    """Return the layers as a chain from one input to one output.

    Args:
        model_name: the model's name in the profile.
        devices: device names; all share host memory (a runtime's profile has no transfer costs).
        layers: the layers, in the order of their runs.
        input_bytes: bytes that the first layer reads.
        meta: facts for the profile's ``meta``; ``dataflow`` is added.
    """
    tensors = ["input", *(f"{layer.name}:0" for layer in layers)]
    sizes = [input_bytes, *(layer.output_bytes for layer in layers)]
    return Profile(
        model_name=model_name,
        devices=tuple(Device(name) for name in devices),
        tensor_bytes=dict(zip(tensors, sizes, strict=True)),
        inputs=(tensors[0],),
        outputs=(tensors[-1],),
        layers=tuple(
            profile_layer(layer, (tensors[index],), (tensors[index + 1],), devices)
            for index, layer in enumerate(layers)
        ),
        meta={**meta, "dataflow": CHAIN},
    )


def profile_layer(
    layer: TimedLayer, inputs: tuple[str, ...], outputs: tuple[str, ...], devices: Sequence[str]
) -> ProfileLayer:
    """Return one timed layer with its tensors; a device without a time for it cannot run it."""
    return ProfileLayer(
        name=layer.name,
        inputs=inputs,
        outputs=outputs,
        cost={name: Cost(layer.seconds[name]) if name in layer.seconds else None for name in devices},
        reasons={name: "not measured in the imported file" for name in devices if name not in layer.seconds},
        parameter_bytes=layer.parameter_bytes,
        nodes=layer.nodes,
        op_types=layer.op_types,
    )


def merge_runs(runs: Sequence[tuple[str, Sequence[TimedLayer]]]) -> list[TimedLayer]:
    """Return the runs of one model on different devices, merged by layer; the shorter time on a device counts.

    Args:
        runs: (file, its layers) pairs.

    Raises:
        ModelError: the runs do not have the same layers in the same order.
    """
    first_file, merged = runs[0][0], list(runs[0][1])
    for file, layers in runs[1:]:
        names, known = [layer.name for layer in layers], [layer.name for layer in merged]
        if names != known:
            odd = next((name for name in (*names, *known) if (name in names) != (name in known)), "their order")
            raise ModelError(
                f"{file}: does not hold the same layers as {first_file} ('{odd}' differs)",
                "Profile both devices with graph optimizations disabled, so that the layers are the same.",
            )
        for index, layer in enumerate(layers):
            merged[index] = _fastest(merged[index], layer)
    return merged


def _fastest(known: TimedLayer, other: TimedLayer) -> TimedLayer:
    """Return the layer with the times of both."""
    seconds = dict(known.seconds)
    for device, value in other.seconds.items():
        seconds[device] = min(value, seconds.get(device, value))
    return TimedLayer(known.name, seconds, known.op_types, known.nodes, known.parameter_bytes, known.output_bytes)
