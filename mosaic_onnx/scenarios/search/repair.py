"""Any chromosome to a schedule that can run: slices that wait for each other in no circle, on devices that hold them.

Layers joined by edges that are not cut want to share a slice. Taken in topological order, a layer joins that slice
unless the slices would then wait for each other in a circle; then another slice begins. A slice that no device can
hold is halved until one can. Each slice goes where its layers vote, by their work, among the devices that can run it;
slices that share a group of layers vote together. Last, what exceeds a device's memory moves elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush

from mosaic_onnx.core.cost_tables.costs import Ints
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.memory import slice_memory
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal
from mosaic_onnx.scenarios.configurations import Option, device_options
from mosaic_onnx.scenarios.feasibility import device_bytes
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.search.genome import Genome, LayerEdges

INF = float("inf")
Layers = tuple[int, ...]
OptionsOf = Callable[[int, Layers], tuple[Option, ...]]
"""(model, layers) to the ways to run them as a slice."""


class Repair:
    """Turns chromosomes into schedules; remembers which devices can hold which slice."""

    def __init__(self, genome: Genome, fallback: Schedule | None = None) -> None:
        """Prepare for one instance's chromosomes.

        Args:
            genome: their form.
            fallback: slices that memory is known to hold, for chromosomes whose own it does not.
        """
        self.genome = genome
        self.fallback = fallback
        self.instance = genome.instance
        self._options: dict[tuple[int, Layers], tuple[Option, ...]] = {}
        self._known: dict[tuple[int, bytes, bytes], Proposal] = {}

    def __call__(self, genes: Ints) -> Schedule:
        """Return the schedule of a chromosome.

        Raises:
            InfeasibleError: memory does not hold all models' slices, wherever they are moved.
        """
        proposals = []
        for m, (cuts, devices) in enumerate(zip(self.genome.cuts(genes), self.genome.devices(genes), strict=True)):
            key = id(self.genome.graphs[m]), cuts.tobytes(), devices.tobytes()
            if key not in self._known:
                self._known[key] = self._proposal(m, cuts.tolist(), devices.tolist())
            proposals.append(self._known[key])
        try:
            fitted = fit_memory(self.instance, proposals, self.options)
        except InfeasibleError:
            if self.fallback is None:
                raise
            fitted = self.fallback.proposals
        return Schedule(fitted, self.genome.priority(genes))

    def options(self, model: int, layers: Layers) -> tuple[Option, ...]:
        """Return the fastest state of each device that can run and hold a slice of a model."""
        key = id(self.genome.graphs[model]), layers
        if key not in self._options:
            table = self.instance.models[model].table
            self._options[key] = device_options(table, layers, self.instance.unit_of_state)
        return self._options[key]

    def _proposal(self, model: int, cuts: Sequence[bool], devices: Sequence[int]) -> Proposal:
        graph = self.genome.graphs[model]
        slices = [half for part in acyclic_slices(graph, cuts) for half in self._held(model, part)]
        placed = self._vote(model, slices, devices)
        return in_order(graph, placed)

    def _held(self, model: int, layers: Layers) -> list[Layers]:
        """Return the layers, halved until some device can run and hold each part."""
        if self.options(model, layers):
            return [layers]
        if len(layers) == 1:
            name = self.instance.models[model].table.layer_names[layers[0]]
            raise InfeasibleError(f"no device can run layer {name} of {self.instance.models[model].name}")
        middle = len(layers) // 2
        return [*self._held(model, layers[:middle]), *self._held(model, layers[middle:])]

    def _vote(self, model: int, slices: list[Layers], devices: Sequence[int]) -> list[PlacedSlice]:
        """Place slices where their layers vote; those that share a group together, or layer by layer if they cannot."""
        graph = self.genome.graphs[model]
        placed: list[PlacedSlice] = []
        for together in _tied(graph, slices):
            able = set.intersection(*({option.device for option in self.options(model, one)} for one in together))
            if not able:
                singles: list[Layers] = [(layer,) for one in together for layer in one]
                if len(singles) == len(together):
                    name = graph.table.layer_names[together[0][0]]
                    raise InfeasibleError(f"no device can run all layers of the group of {name}")
                placed += self._vote(model, singles, devices)
                continue
            placed += self._elected(model, together, able, devices)
        return placed

    def _elected(self, model: int, together: list[Layers], able: set[int], devices: Sequence[int]) -> list[PlacedSlice]:
        graph, unit_of_device = self.genome.graphs[model], self._unit_of_device
        votes: dict[int, float] = defaultdict(float)
        for layer in (layer for one in together for layer in one):
            votes[unit_of_device[devices[layer]]] += graph.work_s[layer] + 1e-12
        seconds = {
            device: sum(
                option.seconds for one in together for option in self.options(model, one) if option.device == device
            )
            for device in able
        }
        device = min(able, key=lambda d: (-votes.get(unit_of_device[d], 0.0), seconds[d], d))
        return [
            PlacedSlice(one, next(option.state for option in self.options(model, one) if option.device == device))
            for one in together
        ]

    @property
    def _unit_of_device(self) -> dict[int, int]:
        return dict(zip(self.instance.table.rows.state_device, self.instance.unit_of_state, strict=True))


def acyclic_slices(graph: LayerEdges, cuts: Sequence[bool]) -> list[Layers]:
    """Return the layers joined by edges that are not cut, cut further where they would wait for each other in a circle.

    Args:
        graph: the model's layers.
        cuts: [E] which edges are cut.
    """
    part = _components(len(graph.table.layer_names), graph, cuts)
    slices: list[list[int]] = []
    slice_of: list[int] = []
    before: list[int] = []
    """[slice] bits of the slices that it waits for, directly or not"""
    current: dict[int, int] = {}
    """part -> the slice that its layers join"""
    for layer, makers in enumerate(graph.makers):
        feeding = {slice_of[maker] for maker in makers}
        waits = 0
        for k in feeding:
            waits |= before[k] | 1 << k
        k = current.get(part[layer], -1)
        others = feeding - {k}
        if k < 0 or any(before[other] >> k & 1 for other in others):
            k = len(slices)
            slices.append([])
            before.append(waits)
            current[part[layer]] = k
        elif waits & ~(before[k] | 1 << k):
            new = waits & ~(1 << k) | before[k]
            before[k] = new
            for later in range(len(before)):
                if before[later] >> k & 1:
                    before[later] |= new
        slices[k].append(layer)
        slice_of.append(k)
    return [tuple(layers) for layers in slices]


def _components(layer_count: int, graph: LayerEdges, cuts: Sequence[bool]) -> list[int]:
    """Return [L] a number shared by layers that edges that are not cut join."""
    root = list(range(layer_count))

    def find(layer: int) -> int:
        while root[layer] != layer:
            root[layer] = root[root[layer]]
            layer = root[layer]
        return layer

    for maker, reader, cut in zip(graph.first.tolist(), graph.second.tolist(), cuts, strict=True):
        if not cut:
            root[find(reader)] = find(maker)
    return [find(layer) for layer in range(layer_count)]


def _tied(graph: LayerEdges, slices: Sequence[Layers]) -> list[list[Layers]]:
    """Return the slices, those that share a group of layers together."""
    groups = graph.table.rows.group
    root = list(range(len(slices)))
    first: dict[int, int] = {}

    def find(k: int) -> int:
        while root[k] != k:
            k = root[k]
        return k

    for k, layers in enumerate(slices):
        for group in {groups[layer] for layer in layers} - {-1}:
            root[find(k)] = find(first.setdefault(group, k))
    together: dict[int, list[Layers]] = defaultdict(list)
    for k, layers in enumerate(slices):
        together[find(k)].append(layers)
    return list(together.values())


def in_order(graph: LayerEdges, placed: Iterable[PlacedSlice]) -> Proposal:
    """Return the slices in a topological order; of those that could be next, the one with the earliest layer.

    Raises:
        InfeasibleError: some wait for each other in a circle.
    """
    slices = sorted(
        (PlacedSlice(tuple(sorted(one.layers)), one.state) for one in placed), key=lambda one: one.layers[0]
    )
    slice_of = {layer: k for k, one in enumerate(slices) for layer in one.layers}
    makers = [
        {slice_of[maker] for layer in one.layers for maker in graph.makers[layer]} - {k} for k, one in enumerate(slices)
    ]
    readers: list[list[int]] = [[] for _ in slices]
    for k, row in enumerate(makers):
        for maker in row:
            readers[maker].append(k)
    left = [len(row) for row in makers]
    ready = [k for k, count in enumerate(left) if count == 0]
    heapify(ready)
    order: list[PlacedSlice] = []
    while ready:
        k = heappop(ready)
        order.append(slices[k])
        for reader in readers[k]:
            left[reader] -= 1
            if left[reader] == 0:
                heappush(ready, reader)
    if len(order) < len(slices):
        raise InfeasibleError("slices wait for each other in a circle")
    return tuple(order)


def fit_memory(instance: Instance, proposals: Sequence[Proposal], options: OptionsOf) -> tuple[Proposal, ...]:
    """Return the slices, those with the most parameters moved off devices that cannot hold them together.

    Raises:
        InfeasibleError: no way was found that holds all of them.
    """
    caps = instance.table.rows.memory_bytes
    moved = [list(proposal) for proposal in proposals]
    if all(cap == INF for cap in caps):
        return tuple(tuple(proposal) for proposal in moved)
    tried: set[tuple[int, int, int]] = set()
    while True:
        need = device_bytes(instance, [tuple(proposal) for proposal in moved])
        over = [device for device, cap in enumerate(caps) if need[device] > cap]
        if not over:
            return tuple(tuple(proposal) for proposal in moved)
        if not _move_one(instance, moved, over[0], need, options, tried):
            name = instance.table.device_names[over[0]]
            raise InfeasibleError(f"no place was found for what exceeds {name}'s memory of {caps[over[0]]:.0f} bytes")


def _move_one(
    instance: Instance,
    moved: list[list[PlacedSlice]],
    device: int,
    need: Sequence[int],
    options: OptionsOf,
    tried: set[tuple[int, int, int]],
) -> bool:
    """Move the largest slice that another device has room for; each goes to each device once."""
    rows = instance.table.rows
    here = [
        (slice_memory(instance.models[m].table, placed).total, m, k)
        for m, proposal in enumerate(moved)
        for k, placed in enumerate(proposal)
        if rows.state_device[placed.state] == device
    ]
    for total, m, k in sorted(here, reverse=True):
        layers = moved[m][k].layers
        if any(instance.models[m].table.rows.group[layer] >= 0 for layer in layers):
            continue
        for option in sorted(options(m, layers), key=lambda option: option.seconds):
            target = m, layers[0], option.device
            has_room = need[option.device] + total <= rows.memory_bytes[option.device]
            if option.device != device and has_room and target not in tried:
                tried.add(target)
                moved[m][k] = PlacedSlice(layers, option.state)
                return True
    return False
