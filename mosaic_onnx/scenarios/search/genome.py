"""Chromosomes: a cut bit for each edge between layers, a device for each layer, one order of the models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Bools, CostTable, Ints
from mosaic_onnx.planner.core.request import Proposal
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule


@dataclass(frozen=True, eq=False)
class LayerEdges:
    """The layers of one model as a graph. ``E`` edges between layers, however many tensors join them."""

    table: CostTable
    first: Ints
    """[E] the layer that makes the tensor; edges are ordered by reader, then maker."""
    second: Ints
    """[E] the layer that reads it."""

    @cached_property
    def makers(self) -> tuple[tuple[int, ...], ...]:
        """Return [L] layers whose tensors each layer reads."""
        makers: list[list[int]] = [[] for _ in self.table.layer_names]
        for maker, reader in zip(self.first.tolist(), self.second.tolist(), strict=True):
            makers[reader].append(maker)
        return tuple(tuple(row) for row in makers)

    @cached_property
    def work_s(self) -> tuple[float, ...]:
        """Return [L] least seconds of each layer in any state: its weight in votes."""
        return tuple(self.table.layer_s.min(axis=1).tolist())


def layer_edges(table: CostTable) -> LayerEdges:
    """Return the graph of a model's layers."""
    producer = table.rows.producer
    pairs = [
        (maker, reader)
        for reader, inputs in enumerate(table.layer_inputs)
        for maker in sorted({producer[tensor] for tensor in inputs} - {-1, reader})
    ]
    edges = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return LayerEdges(table, edges[:, 0], edges[:, 1])


@dataclass(frozen=True, eq=False)
class Genome:
    """The encoding of an instance's schedules as chromosomes: one vector of integers.

    First the cut bits of all models' edges, then the devices of all models' layers, then the models by priority.
    """

    instance: Instance
    graphs: tuple[LayerEdges, ...]

    @cached_property
    def cut_count(self) -> int:
        """Return how many bits the partition chromosome has."""
        return sum(len(graph.first) for graph in self.graphs)

    @cached_property
    def layer_count(self) -> int:
        """Return how many genes the mapping chromosome has."""
        return sum(len(graph.table.layer_names) for graph in self.graphs)

    @property
    def length(self) -> int:
        """Return how many genes there are in all."""
        return self.cut_count + self.layer_count + len(self.graphs)

    def cuts(self, genes: Ints) -> list[Bools]:
        """Return [M][E] whether each edge is cut."""
        return _parts(genes[: self.cut_count] != 0, [len(graph.first) for graph in self.graphs])

    def devices(self, genes: Ints) -> list[Ints]:
        """Return [M][L] the device that each layer votes for."""
        mapping = genes[self.cut_count : self.cut_count + self.layer_count]
        return _parts(mapping, [len(graph.table.layer_names) for graph in self.graphs])

    def priority(self, genes: Ints) -> tuple[int, ...]:
        """Return the models, the most urgent first."""
        return tuple(genes[self.cut_count + self.layer_count :].tolist())

    def encode(self, schedule: Schedule) -> Ints:
        """Return the chromosome whose slices are a schedule's, as far as edges join the layers of each slice."""
        genes = [
            np.concatenate([_cut_bits(graph, p) for graph, p in zip(self.graphs, schedule.proposals, strict=True)]),
            np.concatenate([_votes(graph, p) for graph, p in zip(self.graphs, schedule.proposals, strict=True)]),
            np.array(schedule.priority, dtype=np.int64),
        ]
        return np.concatenate(genes).astype(np.int64)

    def draw(self, rng: np.random.Generator) -> Ints:
        """Draw a chromosome: each model with a share of cuts of its own and devices in runs of layers."""
        device_count = len(self.instance.table.device_names)
        cuts = [rng.random(len(graph.first)) < rng.choice([0.02, 0.1, 0.4]) for graph in self.graphs]
        devices = [_runs(rng, len(graph.table.layer_names), device_count) for graph in self.graphs]
        return np.concatenate([*cuts, *devices, rng.permutation(len(self.graphs))]).astype(np.int64)


def genome_of(instance: Instance) -> Genome:
    """Return the form of an instance's chromosomes; models with the same table share their graph."""
    known: dict[int, LayerEdges] = {}
    for model in instance.models:
        known.setdefault(id(model.table), layer_edges(model.table))
    return Genome(instance, tuple(known[id(model.table)] for model in instance.models))


def _parts(values: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """Return a vector cut into pieces of these lengths."""
    return np.split(values, np.cumsum(counts)[:-1])


def _cut_bits(graph: LayerEdges, proposal: Proposal) -> Ints:
    """Return [E] 1 where an edge joins two slices."""
    slice_of = np.empty(len(graph.table.layer_names), dtype=np.int64)
    for k, placed in enumerate(proposal):
        slice_of[list(placed.layers)] = k
    bits: Ints = (slice_of[graph.first] != slice_of[graph.second]).astype(np.int64)
    return bits


def _votes(graph: LayerEdges, proposal: Proposal) -> Ints:
    """Return [L] the device of each layer's slice."""
    device = np.empty(len(graph.table.layer_names), dtype=np.int64)
    for placed in proposal:
        device[list(placed.layers)] = graph.table.rows.state_device[placed.state]
    return device


def _runs(rng: np.random.Generator, count: int, device_count: int) -> Ints:
    """Return [count] devices, changing at few places."""
    change = rng.random(count) < rng.choice([0.0, 0.05, 0.3])
    run = np.cumsum(change)
    devices: Ints = rng.integers(device_count, size=int(run[-1]) + 1 if count else 0)[run]
    return devices
