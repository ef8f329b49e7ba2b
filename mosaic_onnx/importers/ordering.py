"""A topological order of nodes from another tool's file, as close to the file's order as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.graph.topological import order_by_sources


def topological(names: Sequence[str], successors: Mapping[str, Sequence[str]], where: str) -> list[str]:
    """Return the names in a topological order that keeps the file's order where possible.

    Args:
        names: all nodes, in the file's order.
        successors: {node: the nodes that read its outputs}.
        where: the file, for the message.

    Raises:
        ModelError: the edges form a cycle.
    """
    number = {name: index for index, name in enumerate(names)}
    sources: list[set[int]] = [set() for _ in names]
    for name in names:
        for reader in successors.get(name, ()):
            sources[number[reader]].add(number[name])
    order = order_by_sources(sources, names.__getitem__)
    if order.cycle:
        raise ModelError(f"{where}: the edges form a cycle ({' → '.join(order.cycle)})", "A model is acyclic.")
    return [names[index] for index in order.positions]
