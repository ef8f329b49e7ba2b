"""Layers: the smallest units that are never split, and the graph they form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class TensorInfo:
    """Static facts of one tensor.

    Attributes:
        name: the value name in the model.
        element_type: ``onnx.TensorProto.DataType`` number; 0 where unknown.
        shape: concrete dimensions; None where the rank or a dimension is known only at run time.
        bytes: size in memory; 0 where the shape is unknown.
    """

    name: str
    element_type: int
    shape: tuple[int, ...] | None
    bytes: int


@dataclass(frozen=True)
class Layer:
    """One layer; its index in ``LayerGraph.layers`` is ``l``.

    Attributes:
        name: unique among the layers; the key of its first named node.
        nodes: keys of its nodes (``model.node_keys``) in topological order.
        op_types: operator types of those nodes, ``domain::op`` outside the default domain.
        inputs: tensors that it reads from outside, without weights and constants, in order of first use.
        outputs: tensors that it produces for another layer or for the model's outputs.
        parameters: names of the initialisers and constants that it reads.
        parameter_bytes: their bytes, each counted once.
        activation_bytes: bytes of all tensors that it produces.
    """

    name: str
    nodes: tuple[str, ...]
    op_types: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    parameter_bytes: int = 0
    activation_bytes: int = 0


@dataclass(frozen=True)
class LayerGraph:
    """Layers in a topological order and the tensors that pass between them.

    Attributes:
        layers: ``l`` is the index here.
        tensors: every tensor that passes between layers, by name.
        inputs: the model's inputs (initialisers with a default left out).
        outputs: the model's outputs.
    """

    layers: tuple[Layer, ...]
    tensors: Mapping[str, TensorInfo]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @cached_property
    def producer(self) -> Mapping[str, int]:
        """Return {tensor: index of the layer that produces it}, without the model's inputs."""
        return {name: index for index, layer in enumerate(self.layers) for name in layer.outputs}
