"""Topological orders of the layers: the candidates that the interval programs cut into slices."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Ints
from mosaic_onnx.planner.core.deadline import FOREVER, timed

READY_LOOKED_AT = 64
"""Number of ready layers the min-frontier order compares, so that very wide graphs stay linear."""


def predecessors(table: CostTable) -> list[tuple[int, ...]]:
    """Return [L] the layers that make what each layer reads, each once, ascending."""
    return table.rows.before


def successors(table: CostTable) -> list[tuple[int, ...]]:
    """Return [L] the layers that read what each layer makes, each once, ascending."""
    return table.rows.after


def file_order(table: CostTable) -> tuple[int, ...]:
    """Return the order of the profile."""
    return tuple(range(len(table.layer_names)))


def depth_first_order(table: CostTable, until: float = FOREVER) -> tuple[int, ...]:
    """Follow each branch to its end before the next is begun: after a layer, the reader it has just made ready."""
    stack: list[int] = []

    def take(ready: list[int]) -> int:
        stack.extend(sorted(ready, reverse=True))
        return stack.pop()

    return _order(table, take, until)


def min_frontier_order(table: CostTable, until: float = FOREVER) -> tuple[int, ...]:
    """Greedily keep the bytes that are live between layers few: so that a cut between layers costs little."""
    waiting: list[int] = []
    readers_left = [len(readers) for readers in table.consumers]
    sizes: list[int] = table.tensor_bytes.tolist()

    def growth(layer: int) -> int:
        made = sum(sizes[t] for t in table.layer_outputs[layer] if readers_left[t])
        freed = sum(sizes[t] for t in table.layer_inputs[layer] if readers_left[t] == 1)
        return made - freed

    def take(ready: list[int]) -> int:
        waiting.extend(ready)
        looked_at = waiting[-READY_LOOKED_AT:]
        layer = min(looked_at, key=lambda candidate: (growth(candidate), candidate))
        waiting.remove(layer)
        for t in table.layer_inputs[layer]:
            readers_left[t] -= 1
        return layer

    return _order(table, take, until)


def implied_order(table: CostTable, states: Ints, by_size: bool = False, until: float = FOREVER) -> tuple[int, ...]:
    """Return an order with few changes of state under a placement: stay in a state until nothing of it is ready.

    Args:
        table: costs.
        states: [L] state of each layer.
        by_size: move on to the state with the most ready layers, else to that of the earliest ready layer.
        until: ``time.monotonic()`` at which to give up.

    Raises:
        TimeUpError: it took longer.
    """
    waiting: dict[int, list[int]] = {}
    current = -1

    def take(ready: list[int]) -> int:
        nonlocal current
        for layer in ready:
            heapq.heappush(waiting.setdefault(int(states[layer]), []), layer)
        if not waiting.get(current):
            current = _next_state(table, waiting, current, by_size)
        return heapq.heappop(waiting[current])

    return _order(table, take, until)


def order_by(table: CostTable, keys: Sequence[float], until: float = FOREVER) -> tuple[int, ...]:
    """Return the order in which of the ready layers the one with the least key is next; ``TimeUpError`` as above."""
    waiting: list[tuple[float, int]] = []

    def take(ready: list[int]) -> int:
        for layer in ready:
            heapq.heappush(waiting, (keys[layer], layer))
        return heapq.heappop(waiting)[1]

    return _order(table, take, until)


def _next_state(table: CostTable, waiting: dict[int, list[int]], current: int, by_size: bool) -> int:
    """Prefer another level of the same device, then the largest or the earliest group of ready layers."""

    def rank(state: int) -> tuple[bool, int, int]:
        other_device = current < 0 or table.state_device[state] != table.state_device[current]
        return bool(other_device), -len(waiting[state]) if by_size else 0, waiting[state][0]

    return min((state for state, layers in waiting.items() if layers), key=rank)


def candidate_orders(
    table: CostTable, placements: Sequence[Ints] = (), until: float = FOREVER
) -> Iterator[tuple[int, ...]]:
    """Yield different orders worth cutting: those that placements imply, file, depth-first, min-frontier.

    Raises:
        TimeUpError: making the next one takes longer than ``until``.
    """
    makers: list[Callable[[], tuple[int, ...]]] = [
        partial(implied_order, table, states, by_size, until) for states in placements for by_size in (True, False)
    ]
    makers += [partial(file_order, table)]
    makers += [partial(make, table, until) for make in (depth_first_order, min_frontier_order)]
    done: set[tuple[int, ...]] = set()
    for make in makers:
        order = make()
        if order not in done:
            done.add(order)
            yield order


def _order(table: CostTable, take: Callable[[list[int]], int], until: float) -> tuple[int, ...]:
    """Run Kahn's algorithm; ``take`` is told the layers just made ready and says which ready layer is next."""
    after = successors(table)
    missing = np.array([len(before) for before in predecessors(table)], dtype=np.int64)
    ready = [int(layer) for layer in np.flatnonzero(missing == 0)]
    order = []
    for _ in timed(table.layer_names, until):
        layer = take(ready)
        order.append(layer)
        ready = []
        for reader in after[layer]:
            missing[reader] -= 1
            if missing[reader] == 0:
                ready.append(reader)
    return tuple(order)
