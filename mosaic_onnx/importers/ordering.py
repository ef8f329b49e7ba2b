"""A topological order of nodes read from a foreign file, as near to the file's own order as it can be."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from mosaic_onnx.core.errors import ModelError


def topological(names: Sequence[str], successors: Mapping[str, Sequence[str]], where: str) -> list[str]:
    """Names in a topological order; among those that are ready, the file's order decides.

    Args:
        names: every node, in the file's order.
        successors: name -> the nodes that read what it makes.
        where: the file, for the message.

    Raises:
        ModelError: the edges form a cycle.
    """
    position = {name: index for index, name in enumerate(names)}
    waiting = dict.fromkeys(names, 0)
    for name in names:
        for reader in successors.get(name, ()):
            waiting[reader] += 1
    ready = [position[name] for name in names if waiting[name] == 0]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(name)
        for reader in successors.get(name, ()):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, position[reader])
    if len(order) < len(names):
        stuck = next(name for name in names if waiting[name] > 0)
        raise ModelError(f"{where}: the edges form a cycle (node '{stuck}' waits for itself)", "A model is acyclic.")
    return order
