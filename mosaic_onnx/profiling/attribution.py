"""Attribute kernels to layers by their names: compilers fuse, rename and insert nodes.

Before a slice is compiled for this, each of its nodes is named by its layer (``tag_nodes``). Most kernels' names
contain a node's name (``<tag>_nchwc``, ``_inlfunc_<tag>_Relu``, ``<tag>/MatMulAddFusion``, or a list of the fused
ones); others contain the name of a value (``r12_nchwc``). A kernel of several layers counts for the first of them.
A kernel without a known name is a change of layout that was inserted for the kernel after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import onnx

from mosaic_onnx.backends.base import KernelTime
from mosaic_onnx.core.layers import LayerGraph

_TAG = re.compile(r"mosaicL(\d+)N")
_BREAK = re.compile(r"[^0-9A-Za-z]")


def tag_nodes(model: onnx.ModelProto, layers: Sequence[int]) -> None:
    """Name each node of ``model``'s graph by its layer, in place.

    Args:
        model: a slice's model; it is changed.
        layers: the layer of each node, in the graph's order.
    """
    for index, (node, layer) in enumerate(zip(model.graph.node, layers, strict=True)):
        node.name = f"mosaicL{layer}N{index}"


def value_layers(model: onnx.ModelProto, layers: Sequence[int]) -> dict[str, int]:
    """Return the layer that makes each value of the slice."""
    pairs = zip(model.graph.node, layers, strict=True)
    return {name: layer for node, layer in pairs for name in node.output if name}


@dataclass(frozen=True)
class KernelShare:
    """A layer's share of the kernels of a running slice.

    Attributes:
        seconds: of its kernels.
        workspace_bytes: scratch memory of the kernel that needs most.
        rides_with: the layer whose kernel does this layer's work too; None where it has its own, or that is unknown.
    """

    seconds: float = 0.0
    workspace_bytes: int = 0
    rides_with: int | None = None

    def with_kernel(self, kernel: KernelTime) -> KernelShare:
        """Return this share with one more kernel."""
        return KernelShare(self.seconds + kernel.seconds, max(self.workspace_bytes, kernel.workspace_bytes))


def layer_shares(kernels: Sequence[KernelTime], made_by: Mapping[str, int]) -> dict[int, KernelShare]:
    """Return {layer: share} of the layers that kernels' names mention; empty where no kernel is known.

    Args:
        kernels: in the order in which they ran.
        made_by: the layer that makes each value (``value_layers``).
    """
    found: dict[int, KernelShare] = {}
    riders: dict[int, int] = {}
    waiting: list[KernelTime] = []
    last: int | None = None
    for kernel in kernels:
        waiting.append(kernel)
        layers = _layers_of(kernel.name, made_by)
        if layers:
            found[layers[0]] = reduce(KernelShare.with_kernel, waiting, found.get(layers[0], KernelShare()))
            riders.update((layer, layers[0]) for layer in layers[1:])
            waiting, last = [], layers[0]
    if last is not None:
        found[last] = reduce(KernelShare.with_kernel, waiting, found[last])
    return {**{layer: KernelShare(rides_with=first) for layer, first in riders.items()}, **found}


def sharing_layers(in_place: Mapping[int, KernelShare], graph: LayerGraph) -> list[list[int]]:
    """Return the layers in groups that share kernels; most groups are one layer.

    A layer without a kernel of its own, and without a known one, shares that of its only reader or of its producer.
    """
    readers: dict[str, list[int]] = {}
    for layer in in_place:
        for name in graph.layers[layer].inputs:
            readers.setdefault(name, []).append(layer)
    host: dict[int, int] = {}
    for layer, share in in_place.items():
        if share.seconds > 0.0:
            continue
        reading = sorted({reader for name in graph.layers[layer].outputs for reader in readers.get(name, ())})
        makers = [graph.producer[name] for name in graph.layers[layer].inputs if graph.producer.get(name) in in_place]
        known = [] if share.rides_with is None else [share.rides_with]
        choices = known or (reading if len(reading) == 1 else []) or makers
        if choices:
            host[layer] = choices[0]
    groups: dict[int, list[int]] = {}
    for layer in sorted(in_place):
        groups.setdefault(_end(host, layer), []).append(layer)
    return list(groups.values())


def _end(host: Mapping[int, int], layer: int) -> int:
    """Return the end of a chain of layers that share kernels; the least layer of a cycle."""
    seen = [layer]
    while seen[-1] in host:
        following = host[seen[-1]]
        if following in seen:
            return min(seen[seen.index(following) :])
        seen.append(following)
    return seen[-1]


def _layers_of(name: str, made_by: Mapping[str, int]) -> list[int]:
    """Return the layers that a kernel's name mentions, ascending."""
    tags = sorted({int(number) for number in _TAG.findall(name)})
    if tags:
        return tags
    if name in made_by:
        return [made_by[name]]
    # The longest value name that the kernel's name begins with, up to a separator such as "_" or "/".
    for end in sorted((found.start() for found in _BREAK.finditer(name)), reverse=True):
        if name[:end] in made_by:
            return [made_by[name[:end]]]
    return []
