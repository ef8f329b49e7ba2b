"""An index of a graph by name: producers and readers of each value, types, parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.graphs import (
    FunctionKey,
    call_key,
    every_node,
    function_key,
    initializer_names,
    node_keys,
    parameter_nodes,
    reads,
    writes,
)
from mosaic_onnx.core.graph.signature import given_inputs


@dataclass(frozen=True)
class ModelIndex:
    """A sorted model's main graph by name.

    Attributes:
        model: the model; it is not changed.
        nodes: nodes of the main graph in topological order, constants included.
        position: of each node, by its key.
        read: value names that each node reads, captures included.
        maker: position of the node that produces each value.
        readers: positions of the nodes that read each value.
        weights: initialisers by name.
        sparse_weights: sparse initialisers by name.
        overridable: initialisers that are inputs too: defaults from IR 4 on, which runtimes must not take as constant.
        constants: positions of ``Constant`` nodes that are parameters.
        inputs: the model's inputs that a caller must give.
        outputs: the model's outputs, in order.
        infos: declared values by name.
        annotations: quantisation annotations by tensor.
        functions: model-local functions.
    """

    model: onnx.ModelProto
    nodes: Sequence[onnx.NodeProto]
    position: Mapping[str, int]
    read: Sequence[Mapping[str, None]]
    maker: Mapping[str, int]
    readers: Mapping[str, Sequence[int]]
    weights: Mapping[str, onnx.TensorProto]
    sparse_weights: Mapping[str, onnx.SparseTensorProto]
    overridable: frozenset[str]
    constants: frozenset[int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    infos: Mapping[str, onnx.ValueInfoProto]
    annotations: Mapping[str, onnx.TensorAnnotation]
    functions: Mapping[FunctionKey, onnx.FunctionProto]

    def positions(self, keys: Iterable[str]) -> list[int]:
        """Return the positions of nodes by their keys, sorted.

        Raises:
            ModelError: the model has no such node.
        """
        found = set()
        for key in keys:
            if key not in self.position:
                raise ModelError(f"the model has no node {key!r}", "profile and plan must be of this model")
            found.add(self.position[key])
        return sorted(found - self.constants)

    def is_parameter(self, name: str) -> bool:
        """Return whether the value is a weight or a constant."""
        return name in self.weights or name in self.sparse_weights or self.maker.get(name) in self.constants

    def made(self, positions: Iterable[int]) -> list[str]:
        """Return the values that the nodes produce, in order."""
        return [name for position in positions for name in writes(self.nodes[position])]

    def external_reads(self, positions: Sequence[int]) -> list[str]:
        """Return the values that the nodes read and do not produce, parameters included, in order of first use."""
        inside = set(self.made(positions))
        return list(dict.fromkeys(name for at in positions for name in self.read[at] if name not in inside))

    def needed_outside(self, positions: Sequence[int]) -> list[str]:
        """Return the values that the nodes produce for other nodes or for the model's outputs."""
        inside, outputs = set(positions), set(self.outputs)
        return [
            name
            for name in self.made(positions)
            if name in outputs or any(reader not in inside for reader in self.readers.get(name, ()))
        ]

    def unread(self, positions: Sequence[int]) -> list[str]:
        """Return the values that the nodes produce and no node reads."""
        return [name for name in self.made(positions) if not self.readers.get(name)]

    def called_functions(self, positions: Iterable[int]) -> list[onnx.FunctionProto]:
        """Return the model-local functions that the nodes call, directly or indirectly, in the model's order."""
        found: set[FunctionKey] = set()
        waiting = [self.nodes[position] for position in positions]
        while waiting:
            for node in every_node([waiting.pop()]):
                key = call_key(node)
                if key in self.functions and key not in found:
                    found.add(key)
                    waiting.extend(self.functions[key].node)
        return [function for key, function in self.functions.items() if key in found]


def index_model(model: onnx.ModelProto) -> ModelIndex:
    """Index a model whose nodes are sorted (``graphs.put_in_order``)."""
    graph = model.graph
    nodes = list(graph.node)
    read = [reads(node) for node in nodes]
    initialisers = initializer_names(graph)
    overridable = {value.name for value in graph.input if value.name in initialisers and model.ir_version >= 4}
    readers: dict[str, list[int]] = {}
    for position, names in enumerate(read):
        for name in names:
            readers.setdefault(name, []).append(position)
    return ModelIndex(
        model=model,
        nodes=nodes,
        position={key: position for position, key in enumerate(node_keys(graph))},
        read=read,
        maker={name: position for position, node in enumerate(nodes) for name in writes(node)},
        readers=readers,
        weights={tensor.name: tensor for tensor in graph.initializer},
        sparse_weights={sparse.values.name: sparse for sparse in graph.sparse_initializer},
        overridable=frozenset(overridable),
        constants=frozenset(parameter_nodes(graph)),
        inputs=tuple(value.name for value in given_inputs(graph)),
        outputs=tuple(value.name for value in graph.output),
        infos={value.name: value for value in (*graph.value_info, *graph.input, *graph.output)},
        annotations={entry.tensor_name: entry for entry in graph.quantization_annotation},
        functions={function_key(function): function for function in model.functions},
    )
