"""Group nodes into layers, the smallest units that are never split.

Every node but ``Constant`` is in exactly one layer (a constant that is a model output is, too); layers are convex and
stand in a topological order; values that are not tensors never cross from one to another. A node with subgraphs (If,
Loop, Scan) is one layer with its bodies, and what they capture are its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import onnx

from mosaic_onnx.core.graph.graphs import node_keys, operator_name, writes
from mosaic_onnx.core.graph.signature import given_inputs
from mosaic_onnx.core.layers import Layer, LayerGraph, TensorInfo
from mosaic_onnx.layering.groups import Groups
from mosaic_onnx.layering.patterns import merge_fusion_groups
from mosaic_onnx.layering.view import GraphView, graph_view
from mosaic_onnx.loading.normalise import Normalised

Granularity = Literal["fused", "node", "block"]
LAYER_KEY = "mosaic.layer"
"""Metadata key of a node that names the block it belongs to."""


def layerize(normalised: Normalised, granularity: Granularity = "fused") -> LayerGraph:
    """Group the model's nodes into layers.

    Args:
        normalised: the model; it is left as it is.
        granularity: ``fused``: fusion groups stay together (convolution with batch norm and activation, quantisation
            with its operator, norms and activations written out); ``node``: each node is a layer; ``block``: nodes
            with the same metadata ``mosaic.layer``, or the same name prefix ``Lnn/``, are a layer, with whatever lies
            on paths between them.
    """
    graph = normalised.model.graph
    view = graph_view(graph, node_keys(graph), normalised.tensors)
    groups = Groups([{view.maker[name] for name in names if name in view.maker} for names in view.read])
    groups.merge_with_paths(_non_tensor_sets(view))
    if granularity == "fused":
        merge_fusion_groups(view, groups)
    elif granularity == "block":
        groups.merge_with_paths(_blocks(view))
    ordered = groups.in_order()
    layer_of = {position: index for index, members in enumerate(ordered) for position in members}
    layers = tuple(_layer(view, members, layer_of) for members in ordered)
    crossing = dict.fromkeys(name for layer in layers for name in (*layer.inputs, *layer.outputs))
    inputs = tuple(value.name for value in given_inputs(graph))
    crossing |= dict.fromkeys(inputs)
    known = set(inputs) | set(view.maker)
    return LayerGraph(
        layers=layers,
        tensors={name: normalised.tensors.get(name, TensorInfo(name, 0, None, 0)) for name in crossing},
        inputs=inputs,
        outputs=tuple(value.name for value in graph.output if value.name in known),
    )


def block_of(node: onnx.NodeProto) -> str:
    """Return the block that a node is marked as part of; empty where it has no mark."""
    for entry in node.metadata_props:
        if entry.key == LAYER_KEY:
            return str(entry.value)
    prefix, slash, _ = node.name.partition("/")
    return prefix if slash and prefix[:1] == "L" and prefix[1:].isdigit() else ""


def _non_tensor_sets(view: GraphView) -> Iterable[list[int]]:
    """Return, for each value that is not a tensor, the nodes that produce and read it."""
    for name in sorted(view.non_tensors):
        maker = [view.maker[name]] if name in view.maker else []
        together = [*maker, *view.readers.get(name, ())]
        if len(together) > 1:
            yield together


def _blocks(view: GraphView) -> Iterable[list[int]]:
    blocks: dict[str, list[int]] = {}
    for position, node in enumerate(view.nodes):
        block = block_of(node)
        if block:
            blocks.setdefault(block, []).append(position)
    return blocks.values()


def _layer(view: GraphView, members: list[int], layer_of: dict[int, int]) -> Layer:
    """Return the layer of one group of nodes, given in topological order."""
    own = layer_of[members[0]]
    made = [name for member in members for name in writes(view.nodes[member])]
    inside = set(made)
    read = dict.fromkeys(name for member in members for name in view.read[member] if name not in inside)
    parameters = dict.fromkeys(name for member in members for name in view.parameters[member])
    outputs = tuple(
        name
        for name in made
        if name in view.outputs or any(layer_of[reader] != own for reader in view.readers.get(name, ()))
    )
    named = next((member for member in members if not view.keys[member].startswith("%")), members[0])
    sizes = view.tensors
    return Layer(
        name=view.keys[named],
        nodes=tuple(view.keys[member] for member in members),
        op_types=tuple(operator_name(view.nodes[member]) for member in members),
        inputs=tuple(read),
        outputs=outputs,
        parameters=tuple(parameters),
        parameter_bytes=sum(sizes[name].bytes for name in parameters if name in sizes),
        activation_bytes=sum(sizes[name].bytes for name in made if name in sizes),
    )
