"""Tasks: the layers, or sets of them that run as one slice, as list scheduling sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Bools, CostTable, Floats
from mosaic_onnx.planner.core.deadline import FOREVER, timed
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.memory import slice_memory
from mosaic_onnx.planner.core.orders import predecessors, successors
from mosaic_onnx.planner.core.request import PlacedSlice
from mosaic_onnx.planner.core.simulate import slice_cost

INF = float("inf")


class Levels:
    """The levels of a device that are worth trying for a set of layers as one slice.

    A level goes where another one runs that very slice and sends off what its layers make no more slowly, and needs no
    more memory. That holds where switches are not counted and a tensor comes in at its device's cheapest level, as in
    the solver's model; measured slices count, since the slice's own seconds are compared.
    """

    def __init__(self, table: CostTable) -> None:
        """Compare what the levels of each device send."""
        self.table = table
        device = table.state_device.tolist()
        ways: dict[int, dict[int, Floats]] = {state: {} for state in range(len(device))}
        for (source, target), seconds in table.direct_s.items():
            ways[source][target] = seconds
        self.sends: dict[tuple[int, int], Bools] = {}
        """(level, other level of its device) -> [T] the first sends the tensor no more slowly"""
        for a, b in permutations(range(len(device)), 2):
            if device[a] != device[b] or ways[a].keys() != ways[b].keys():
                continue
            sends = table.to_host_s[:, a] <= table.to_host_s[:, b]
            for target, seconds in ways[a].items():
                same_way = np.isfinite(seconds) == np.isfinite(ways[b][target])
                sends &= same_way & (seconds <= ways[b][target])
            self.sends[a, b] = sends

    def worthwhile(self, layers: tuple[int, ...], states: Sequence[int]) -> list[int]:
        """Return those of the states, all of which can run the slice, that no other of them beats."""
        seconds = {state: slice_cost(self.table, PlacedSlice(layers, state)).seconds for state in states}
        kept = list(states)
        for b in states:
            if any((a, b) in self.sends and self._beats(a, b, layers, seconds) for a in kept):
                kept.remove(b)
        return kept

    def _beats(self, a: int, b: int, layers: tuple[int, ...], seconds: Mapping[int, float]) -> bool:
        table, rows = self.table, list(layers)
        made = [tensor for layer in layers for tensor in table.layer_outputs[layer]]
        needs = (table.parameter_bytes, table.workspace_bytes, table.activation_bytes)
        no_slower = seconds[a] <= seconds[b] and bool(self.sends[a, b][made].all())
        return no_slower and all(bool((need[rows, a] <= need[rows, b]).all()) for need in needs)


def worthwhile_states(table: CostTable, until: float = FOREVER) -> Bools:
    """Return [L, S] the states that are worth trying for each layer as a slice of its own."""
    levels, found = Levels(table), possible_states(table)
    for layer, row in enumerate(timed(found, until)):
        kept = levels.worthwhile((layer,), np.flatnonzero(row).tolist())
        row[:] = False
        row[kept] = True
    return found


@dataclass(frozen=True, eq=False)
class Tasks:
    """Sets of layers that cover all of them; ``N`` tasks in a topological order."""

    layers: tuple[tuple[int, ...], ...]
    """[N] layers of each, ascending."""
    seconds: list[list[float]]
    """[N][S] execution as a slice of its own; inf where it cannot run."""
    states: list[list[int]]
    """[N] states worth trying: of each device that can run it, the fastest one."""
    reads: list[list[int]]
    """[N] tensors made elsewhere."""
    makes: list[list[int]]
    """[N] tensors that other tasks or the model's outputs need."""
    maker: dict[int, int]
    """tensor -> its task; -1 for the model's inputs."""
    before: list[list[int]]
    """[N] tasks that make what it reads."""
    after: list[list[int]]
    """[N] tasks that read what it makes."""


def single_tasks(table: CostTable, until: float = FOREVER) -> Tasks:
    """Return every layer a task."""
    return tasks_of(table, [(layer,) for layer in range(len(table.layer_names))], until)


def chain_tasks(table: CostTable, until: float = FOREVER) -> Tasks:
    """Return layers in a row, each the only reader of the one before and reading only that, form a task."""
    before, after = predecessors(table), successors(table)
    chains: list[list[int]] = []
    chain_of: dict[int, int] = {}
    for layer in range(len(table.layer_names)):
        only = before[layer][0] if len(before[layer]) == 1 else -1
        if only >= 0 and len(after[only]) == 1 and table.group[only] == table.group[layer]:
            chain_of[layer] = chain_of[only]
            chains[chain_of[layer]].append(layer)
        else:
            chain_of[layer] = len(chains)
            chains.append([layer])
    return tasks_of(table, [tuple(chain) for chain in chains], until)


def tasks_of(table: CostTable, parts: Sequence[tuple[int, ...]], until: float = FOREVER) -> Tasks:
    """Return the tasks with their costs and tensors.

    Args:
        table: costs.
        parts: layers of each task, ascending; in a topological order, no two tasks waiting for each other.
        until: ``time.monotonic()`` at which to give up.

    Raises:
        TimeUpError: it took longer.
    """
    rows = table.rows
    task_of = {layer: task for task, layers in enumerate(parts) for layer in layers}
    reads, makes, before = [], [], []
    after: list[set[int]] = [set() for _ in parts]
    maker: dict[int, int] = {}
    for task, layers in enumerate(timed(parts, until)):
        read = dict.fromkeys(t for layer in layers for t in table.layer_inputs[layer])
        external = [t for t in read if rows.producer[t] < 0 or task_of[rows.producer[t]] != task]
        for tensor in external:
            maker[tensor] = task_of[rows.producer[tensor]] if rows.producer[tensor] >= 0 else -1
            if maker[tensor] >= 0:
                after[maker[tensor]].add(task)
        reads.append(external)
        before.append(sorted({maker[tensor] for tensor in external} - {-1}))
        makes.append(_needed_elsewhere(table, layers, task_of, task))
    seconds = _seconds(table, parts, until)
    return Tasks(
        layers=tuple(parts),
        seconds=seconds,
        states=[_fastest(rows.state_device, row) for row in seconds],
        reads=reads,
        makes=makes,
        maker=maker,
        before=before,
        after=[sorted(readers) for readers in after],
    )


def _needed_elsewhere(table: CostTable, layers: Iterable[int], task_of: dict[int, int], task: int) -> list[int]:
    rows = table.rows
    return [
        tensor
        for layer in layers
        for tensor in table.layer_outputs[layer]
        if rows.is_output[tensor] or any(task_of[reader] != task for reader in table.consumers[tensor])
    ]


def _seconds(table: CostTable, parts: Sequence[tuple[int, ...]], until: float) -> list[list[float]]:
    """Return [N][S] what each task takes as a slice; inf where a layer cannot run or a cap does not hold it."""
    possible = possible_states(table)
    rows = table.rows
    caps = [min(rows.slice_memory_bytes[d], rows.memory_bytes[d]) for d in rows.state_device]
    seconds = []
    for layers in timed(parts, until):
        able = possible[list(layers)].all(axis=0)
        row = [INF] * len(caps)
        for state in np.flatnonzero(able).tolist():
            placed = PlacedSlice(layers, state)
            if len(layers) == 1 or caps[state] == INF or slice_memory(table, placed).total <= caps[state]:
                row[state] = slice_cost(table, placed).seconds
        seconds.append(row)
    return seconds


def _fastest(state_device: Sequence[int], seconds: Sequence[float]) -> list[int]:
    """Return the fastest state of each device that can run a task."""
    best: dict[int, int] = {}
    for state, device in enumerate(state_device):
        if seconds[state] < INF and (device not in best or seconds[state] < seconds[best[device]]):
            best[device] = state
    return sorted(best.values())
