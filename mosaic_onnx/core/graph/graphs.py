"""Functions on ONNX graphs in memory: node keys, names, captured values, topological order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import onnx

from mosaic_onnx.core.graph.topological import Order, order_by_sources

DEFAULT_DOMAINS = ("", "ai.onnx")
FunctionKey = tuple[str, str, str]
"""Domain (empty for the default one), name, overload."""


def domain_of(domain: str) -> str:
    """Return the domain in its canonical spelling: the default domain ``ai.onnx`` becomes the empty string."""
    return "" if domain in DEFAULT_DOMAINS else domain


def operator_name(node: onnx.NodeProto) -> str:
    """Return operator type, ``domain::op`` outside the default domain."""
    domain = domain_of(node.domain)
    return f"{domain}::{node.op_type}" if domain else node.op_type


def function_key(function: onnx.FunctionProto) -> FunctionKey:
    """Return the key by which nodes call the function."""
    return domain_of(function.domain), function.name, function.overload


def call_key(node: onnx.NodeProto) -> FunctionKey:
    """Return the key of the function that the node calls if the model defines one."""
    return domain_of(node.domain), node.op_type, node.overload


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Return the graphs in the node's attributes: branches and bodies."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def every_node(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield the nodes and all nodes in their subgraphs, outer ones first."""
    stack = [iter(nodes)]
    while stack:
        node = next(stack[-1], None)
        if node is None:
            stack.pop()
            continue
        yield node
        stack.extend(iter(graph.node) for graph in subgraphs(node))


def is_constant(node: onnx.NodeProto) -> bool:
    """Return whether the node is a ``Constant``: a parameter written as a node."""
    return node.op_type == "Constant" and node.domain in DEFAULT_DOMAINS


def parameter_nodes(graph: onnx.GraphProto) -> set[int]:
    """Return the indices of the ``Constant`` nodes that are parameters: all but those that produce a graph output."""
    outputs = {value.name for value in graph.output}
    return {index for index, node in enumerate(graph.node) if is_constant(node) and outputs.isdisjoint(node.output)}


def initializer_names(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the graph's initialisers, dense and sparse."""
    names = {tensor.name for tensor in graph.initializer}
    names.update(sparse.values.name for sparse in graph.sparse_initializer)
    return names


def free_names(graph: onnx.GraphProto) -> dict[str, None]:
    """Return the names that a graph reads and does not define (a subgraph's captures), in order of first use."""
    own = {value.name for value in graph.input} | initializer_names(graph)
    own.update(output for node in graph.node for output in node.output)
    found: dict[str, None] = {}
    for node in graph.node:
        found.update((name, None) for name in reads(node) if name not in own)
    found.update((value.name, None) for value in graph.output if value.name and value.name not in own)
    return found


def reads(node: onnx.NodeProto) -> dict[str, None]:
    """Return every value name that the node reads, captures of its subgraphs included, in order of first use."""
    found = {name: None for name in node.input if name}
    for graph in subgraphs(node):
        found.update(free_names(graph))
    return found


def renamed_node(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """Return a copy of the node with values renamed; names that its subgraphs define themselves are kept."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for field in (copy.input, copy.output):
        for at, name in enumerate(field):
            field[at] = names.get(name, name)
    for graph in subgraphs(copy):
        _rename_captures(graph, names)
    return copy


def _rename_captures(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    own = {value.name for value in graph.input} | initializer_names(graph)
    own.update(output for node in graph.node for output in node.output)
    captured = {name: other for name, other in names.items() if name not in own}
    for node in graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = captured.get(name, name)
        for inner in subgraphs(node):
            _rename_captures(inner, captured)
    for value in graph.output:
        value.name = captured.get(value.name, value.name)


def writes(node: onnx.NodeProto) -> list[str]:
    """Return the names of the values that the node produces; omitted optional outputs are left out."""
    return [name for name in node.output if name]


def node_keys(graph: onnx.GraphProto) -> list[str]:
    """Return one key for each node, in the graph's order; profiles, layers and plans name nodes by it.

    The key is the node's name where it is not empty and unique in the graph, else ``%`` and its first non-empty
    output's name (``%#`` and its position for a node without outputs). More ``%`` are put in front where it is taken.
    """
    uses = Counter(node.name for node in graph.node)
    taken = {name for name, count in uses.items() if name and count == 1}
    keys = []
    for index, node in enumerate(graph.node):
        key = node.name
        if key not in taken:
            key = "%" + next(iter(writes(node)), f"#{index}")
            while key in taken:
                key = "%" + key
            taken.add(key)
        keys.append(key)
    return keys


def sort_nodes(nodes: Sequence[onnx.NodeProto]) -> Order:
    """Return a topological order that keeps the given one wherever it can (smallest index first)."""
    maker = {name: index for index, node in enumerate(nodes) for name in writes(node)}
    sources = [{maker[name] for name in reads(node) if name in maker} for node in nodes]
    return order_by_sources(sources, lambda index: next(iter(writes(nodes[index])), nodes[index].name))


def superseded_constants(nodes: Sequence[onnx.NodeProto]) -> set[int]:
    """Return the indices of ``Constant`` nodes whose value a later ``Constant`` gives again.

    Some exporters leave such pairs; ONNX Runtime uses the last one.
    """
    constants = [(index, node) for index, node in enumerate(nodes) if is_constant(node) and len(node.output) == 1]
    last = {node.output[0]: index for index, node in constants}
    return {index for index, node in constants if last[node.output[0]] != index}


def is_orderly(model: onnx.ModelProto) -> bool:
    """Return whether graph, subgraphs and functions are in topological order and have no superseded constants."""
    return all(sort_nodes(body.node).is_identity and not superseded_constants(body.node) for body in _bodies(model))


def put_in_order(model: onnx.ModelProto) -> None:
    """Sort graph, subgraphs and functions in place so that each value is defined once; there must be no cycle.

    A superseded constant stays, but its output gets a new name, which nothing reads.
    """
    for body in _bodies(model):
        superseded = superseded_constants(body.node)
        order = sort_nodes(body.node)
        if order.is_identity and not superseded:
            continue
        copies = [onnx.NodeProto.FromString(body.node[index].SerializeToString()) for index in order.positions]
        taken = {name for node in body.node for name in (*node.input, *node.output)}
        for index, copy in zip(order.positions, copies, strict=True):
            if index in superseded:
                copy.output[0] = free_name(f"{copy.output[0]}#superseded", taken)
        del body.node[:]
        body.node.extend(copies)


def free_name(wanted: str, taken: set[str], separator: str = "#") -> str:
    """Return the wanted name, or with ``#2``, ``#3`` … where it is taken; ``taken`` then holds it."""
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}{separator}{count}"
    taken.add(name)
    return name


def _bodies(model: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """Yield all graphs and functions, inner ones first: sorting an outer one copies its inner ones."""
    for outer in (model.graph, *model.functions):
        inner = [graph for node in every_node(outer.node) for graph in subgraphs(node)]
        yield from reversed(inner)
        yield outer
