"""The workloads at the paper's granularity: layers, facts, and profiles on described devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod

from onnx import TensorProto

from mosaic_onnx.backends.simulated.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.graph.layer_facts import LayerFacts, known_shapes, layer_facts
from mosaic_onnx.core.layers import LayerGraph, TensorInfo
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.layering.layerize import Granularity, layerize
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.zoo import build_shapes
from mosaic_onnx.zoo.independent import NETWORKS
from mosaic_onnx.zoo.weights import ShapesOnly


@dataclass(frozen=True)
class Layered:
    """One workload cut into the paper's layers.

    Attributes:
        name: its name.
        graph: the layers.
        facts: [L] static facts of each layer.
    """

    name: str
    graph: LayerGraph
    facts: tuple[LayerFacts, ...]


@cache
def layered(name: str, granularity: Granularity = "block") -> Layered:
    """Return a workload's layers, from a graph whose weights have shapes but no data.

    Args:
        name: a name in ``zoo.WORKLOADS`` or ``zoo.independent.NETWORKS``.
        granularity: ``block`` for the paper's layers; see ``layering.layerize``.
    """
    model = NETWORKS[name](ShapesOnly()) if name in NETWORKS else build_shapes(name)
    tensors = {
        tensor: TensorInfo(tensor, TensorProto.FLOAT, shape, 4 * prod(shape))
        for tensor, shape in known_shapes(model.graph).items()
    }
    graph = layerize(Normalised(model, "", tensors), granularity)
    return Layered(name, graph, layer_facts(graph, model))


def described_profile(one: Layered, devices: Sequence[Device]) -> Profile:
    """Return the profile that simulated devices state for a workload at every level; nothing is measured."""
    layers = []
    for layer, facts in zip(one.graph.layers, one.facts, strict=True):
        said = {state: BACKEND.layer_cost(facts, device, state) for device in devices for state in device.states}
        cost: Mapping[str, Cost | None] = {s: value if isinstance(value, Cost) else None for s, value in said.items()}
        layers.append(
            ProfileLayer(
                name=layer.name,
                inputs=layer.inputs,
                outputs=layer.outputs,
                cost=cost,
                reasons={state: value for state, value in said.items() if isinstance(value, str)},
                parameter_bytes=layer.parameter_bytes,
                activation_bytes=layer.activation_bytes,
                nodes=layer.nodes,
                op_types=layer.op_types,
            )
        )
    names = dict.fromkeys(
        (*one.graph.inputs, *(t for layer in one.graph.layers for t in (*layer.inputs, *layer.outputs)))
    )
    return Profile(
        model_name=one.name,
        devices=tuple(devices),
        tensor_bytes={name: one.graph.tensors[name].bytes for name in names},
        inputs=one.graph.inputs,
        outputs=one.graph.outputs,
        layers=tuple(layers),
        copies=tuple(copy for device in devices for copy in BACKEND.copies(device)),
        switches=tuple(switch for device in devices for switch in BACKEND.switches(device)),
    )


def rule_bytes(name: str) -> int:
    """Return a workload's bytes by the inferred 100 MB rule: dense half-precision weights, and f32 kernel outputs."""
    return sum(2 * facts.dense_parameter_count + facts.buffered_bytes for facts in layered(name).facts)


def highest_only(devices: Sequence[Device]) -> tuple[Device, ...]:
    """Return the devices with only their highest level: D of Equation 6."""
    return tuple(replace(device, levels=device.levels[-1:]) for device in devices)
