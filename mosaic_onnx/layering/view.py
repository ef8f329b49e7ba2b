"""An index of a graph for the patterns: producers and readers of each value, parameters, shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from mosaic_onnx.core.graph.graphs import domain_of, initializer_names, parameter_nodes, reads, writes
from mosaic_onnx.core.layers import TensorInfo


@dataclass(frozen=True)
class GraphView:
    """The nodes that become layers, by position ``0 … n-1`` in topological order.

    Attributes:
        nodes: every node but the constants that are parameters.
        keys: their node keys.
        read: value names that each reads, captures included, without parameters, in order of first use.
        parameters: value names of weights and constants that each reads, in order of first use.
        maker: position of the node that produces each value.
        readers: positions of the nodes that read each value.
        outputs: the model's outputs.
        tensors: static facts of each value.
        non_tensors: values that are sequences, optionals or maps.
    """

    nodes: Sequence[onnx.NodeProto]
    keys: Sequence[str]
    read: Sequence[tuple[str, ...]]
    parameters: Sequence[tuple[str, ...]]
    maker: Mapping[str, int]
    readers: Mapping[str, tuple[int, ...]]
    outputs: frozenset[str]
    tensors: Mapping[str, TensorInfo]
    non_tensors: frozenset[str]

    def operator(self, position: int) -> str:
        """Return the operator type without its domain."""
        return self.nodes[position].op_type

    def is_only_read_by(self, name: str, positions: set[int]) -> bool:
        """Return whether only these nodes read the value."""
        return name not in self.outputs and all(reader in positions for reader in self.readers.get(name, ()))

    def only_reader(self, position: int) -> int | None:
        """Return the only node that reads this node's outputs; None where others, or the model's outputs, need them."""
        found: set[int] = set()
        for name in writes(self.nodes[position]):
            if name in self.outputs:
                return None
            found.update(self.readers.get(name, ()))
        return found.pop() if len(found) == 1 else None


def graph_view(graph: onnx.GraphProto, keys: Sequence[str], tensors: Mapping[str, TensorInfo]) -> GraphView:
    """Index a sorted graph.

    Args:
        graph: in topological order.
        keys: ``graphs.node_keys`` of it.
        tensors: static facts of its values.
    """
    weights = initializer_names(graph)
    constants = parameter_nodes(graph)
    weights.update(name for index in constants for name in graph.node[index].output)
    nodes = enumerate(zip(graph.node, keys, strict=True))
    kept = [pair for index, pair in nodes if index not in constants]
    read, parameters = [], []
    for node, _ in kept:
        names = reads(node)
        read.append(tuple(name for name in names if name not in weights))
        parameters.append(tuple(name for name in names if name in weights))
    readers: dict[str, list[int]] = {}
    for position, names_read in enumerate(read):
        for name in names_read:
            readers.setdefault(name, []).append(position)
    return GraphView(
        nodes=[node for node, _ in kept],
        keys=[key for _, key in kept],
        read=read,
        parameters=parameters,
        maker={name: position for position, (node, _) in enumerate(kept) for name in writes(node)},
        readers={name: tuple(positions) for name, positions in readers.items()},
        outputs=frozenset(value.name for value in graph.output),
        tensors=tensors,
        non_tensors=_non_tensors(graph),
    )


_NON_TENSOR_MAKERS = frozenset(
    {"SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SplitToSequence", "SequenceMap"}
    | {"Optional", "ZipMap", "CastMap"}
)


def _non_tensors(graph: onnx.GraphProto) -> frozenset[str]:
    """Return the values known not to be tensors, by declaration or by the operator that produces them."""
    kinds = {value.name: value.type.WhichOneof("value") for value in (*graph.input, *graph.value_info, *graph.output)}
    found = {name for name, kind in kinds.items() if kind not in (None, "tensor_type")}
    for node in graph.node:
        if node.op_type in _NON_TENSOR_MAKERS and domain_of(node.domain) in ("", "ai.onnx.ml"):
            found.update(name for name in writes(node) if kinds.get(name) != "tensor_type")
    return frozenset(found)
