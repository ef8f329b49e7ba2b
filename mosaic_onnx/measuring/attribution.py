"""Which layer a kernel belongs to: compilers fuse, rename and insert, and their kernels' names say only so much.

Before a slice is compiled for this, each of its nodes is named by its layer (``tag_nodes``). Most names that a runtime
makes hold a node's name (``<tag>_nchwc``, ``_inlfunc_<tag>_Relu``, ``<tag>/MatMulAddFusion``, or a list of the fused
ones); others hold the name of a value (``r12_nchwc``). A kernel of several layers counts for the first of them: the
others ride along. What bears no known name is a change of layout that was inserted for the kernel after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import onnx

from mosaic_onnx.backends.base import KernelTime

_TAG = re.compile(r"mosaicL(\d+)N")
_BREAK = re.compile(r"[^0-9A-Za-z]")


def tag_nodes(model: onnx.ModelProto, layers: Sequence[int]) -> None:
    """Name each node of ``model``'s graph by its layer, in place.

    Args:
        model: a slice's model that nobody else holds.
        layers: the layer of each node, in the graph's order.
    """
    for index, (node, layer) in enumerate(zip(model.graph.node, layers, strict=True)):
        node.name = f"mosaicL{layer}N{index}"


def value_layers(model: onnx.ModelProto, layers: Sequence[int]) -> dict[str, int]:
    """The layer that makes each value of the slice."""
    pairs = zip(model.graph.node, layers, strict=True)
    return {name: layer for node, layer in pairs for name in node.output if name}


@dataclass(frozen=True)
class Share:
    """What a layer takes of a slice that runs.

    Attributes:
        seconds: of its kernels.
        workspace_bytes: scratch memory of the kernel that needs most.
    """

    seconds: float = 0.0
    workspace_bytes: int = 0

    def with_kernel(self, kernel: KernelTime) -> Share:
        """This and one kernel more."""
        return Share(self.seconds + kernel.seconds, max(self.workspace_bytes, kernel.workspace_bytes))


def layer_shares(kernels: Sequence[KernelTime], made_by: Mapping[str, int]) -> dict[int, Share]:
    """The share of each layer that has a kernel; empty where no kernel is known.

    Args:
        kernels: in the order in which they ran.
        made_by: the layer that makes each value (``value_layers``).
    """
    found: dict[int, Share] = {}
    waiting: list[KernelTime] = []
    last: int | None = None
    for kernel in kernels:
        waiting.append(kernel)
        layer = _layer_of(kernel.name, made_by)
        if layer is not None:
            found[layer] = reduce(Share.with_kernel, waiting, found.get(layer, Share()))
            waiting, last = [], layer
    if last is not None:
        found[last] = reduce(Share.with_kernel, waiting, found[last])
    return found


def _layer_of(name: str, made_by: Mapping[str, int]) -> int | None:
    tags = [int(number) for number in _TAG.findall(name)]
    if tags:
        return min(tags)
    if name in made_by:
        return made_by[name]
    # The longest value name that the kernel's name begins with, up to a sign such as "_" or "/".
    for end in sorted((found.start() for found in _BREAK.finditer(name)), reverse=True):
        if name[:end] in made_by:
            return made_by[name[:end]]
    return None
