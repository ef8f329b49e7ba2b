"""Plans under device caps in which every capped device runs one slice: the cheapest along a topological order.

A program over (place in the order, capped devices used). A slice pays for its layers, for each tensor that it reads
from outside once, and for each tensor that it makes and others need once; devices without caps may run any number of
slices. Alike devices are one class with a count. Slices keep their device's cap with all that they need at once.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence, Set

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats, Ints
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.device_classes import DeviceClass, device_classes
from mosaic_onnx.planner.core.memory_windows import first_layers
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, Weighed, weigh
from mosaic_onnx.planner.core.orders import order_by
from mosaic_onnx.planner.core.request import TOLERANCE, PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.simulate import simulate, value
from mosaic_onnx.planner.throughput.pipeline import unit_order
from mosaic_onnx.planner.throughput.units import units

MAX_USES = 64
"""Up to so many combinations of used devices."""
SECONDS_PER_LAYER = 2e-4
"""Roughly what the program takes for a layer: it is not begun where that is too long."""
REACHES = (3, 10, 30)
"""Places that layers move by where an order is shaken."""
IDLE_SHAKES = 100
"""After so many shaken orders without a better plan the search of orders ends."""
FREE_LAYERS = 400
"""Longest slice on a device without caps, in layers."""


def capped_plans(
    table: CostTable, request: Request, orders: Iterable[Sequence[int]], until: float, *, search: bool = True
) -> Iterator[Proposal]:
    """Yield the plan of each order, then better ones of orders near the best; none where no device is capped.

    Args:
        table: costs.
        request: the objective, and the schedule by which plans are compared.
        orders: topological orders.
        until: ``time.monotonic()`` at which to stop.
        search: whether to go on from the best order, a stretch of it shaken at a time.
    """
    began = time.monotonic()
    if np.isinf(table.memory_bytes).all() or began + SECONDS_PER_LAYER * len(table.layer_names) > until:
        return
    weighed = weigh(table, ENERGY if request.objective == "energy" else LATENCY)
    parts = units(table, join_idle=False)
    together = {layer for layers in parts.layers for layer in layers[1:]}
    best: tuple[float, Proposal] = (math.inf, ())
    longest = 0.0

    def planned(layer_order: Sequence[int]) -> Proposal | None:
        nonlocal longest
        begun = time.monotonic()
        order = [layer for unit in unit_order(parts, layer_order) for layer in parts.layers[unit]]
        plan = capped_runs(table, weighed, order, until, together)
        longest = max(longest, time.monotonic() - begun)
        return plan

    for layer_order in orders:
        plan = planned(layer_order) if time.monotonic() + longest < until else None
        if plan is None:
            break
        best = min(best, (_figure(table, request, plan), plan))
        yield plan
    chance, idle = random.Random(request.seed), 0
    while search and best[0] < math.inf and idle < IDLE_SHAKES and time.monotonic() + longest < until:
        plan = planned(_shaken(table, best[1], chance))
        figure = math.inf if plan is None else _figure(table, request, plan)
        idle = 0 if figure < best[0] * (1 - TOLERANCE) else idle + 1
        if plan is not None and figure <= best[0]:
            best = figure, plan
            if not idle:
                yield plan


def _figure(table: CostTable, request: Request, plan: Proposal) -> float:
    """Return the objective; inf where the plan cannot run."""
    try:
        return value(simulate(table, plan, request.schedule), request.objective)
    except InfeasibleError:
        return math.inf


def _shaken(table: CostTable, plan: Proposal, chance: random.Random) -> tuple[int, ...]:
    """Return an order of the layers near that of a plan: those around one of its cuts are moved by some places."""
    order = [layer for layers, _ in plan for layer in layers]
    cut = chance.choice([0, *itertools.accumulate(len(layers) for layers, _ in plan)])
    reach = chance.choice(REACHES)
    keys = [0.0] * len(order)
    for place, layer in enumerate(order):
        keys[layer] = place + (chance.uniform(-reach, reach) if abs(place - cut) < 2 * reach else 0.0)
    return order_by(table, keys)


def capped_runs(
    table: CostTable, weighed: Weighed, order: Sequence[int], until: float, together: Set[int] = frozenset()
) -> Proposal | None:
    """Return the cheapest such plan; None where there is none, or it is not found by ``until``.

    Args:
        table: costs.
        weighed: the same costs, each as one number.
        order: a topological order of the layers.
        until: ``time.monotonic()`` at which to give up.
        together: layers that stay in the slice of the layer before them in the order, as groups demand.
    """
    classes = device_classes(table)
    capped = [one for one in classes if np.isfinite(table.memory_bytes[one.devices[0]])]
    if not capped or math.prod(len(one.devices) + 1 for one in capped) > MAX_USES:
        return None
    return _Program(table, weighed, tuple(order), classes, capped).run(until, together)


class _Program:
    """The program along one order; axes: C columns (states of one device of each class), U uses, L places."""

    def __init__(
        self,
        table: CostTable,
        weighed: Weighed,
        order: tuple[int, ...],
        classes: Sequence[DeviceClass],
        capped: Sequence[DeviceClass],
    ) -> None:
        self.table, self.order, self.classes, self.capped = table, order, classes, capped
        self.states = [state for one in classes for state in one.states]
        self.class_of = [one for one in classes for _ in one.states]
        self.layer = weighed.layer[:, self.states]
        self.to_host = weighed.to_host[:, self.states]
        self.from_host = weighed.from_host[:, self.states]
        self.overhead = weighed.slice[table.state_device[self.states]]
        windows = first_layers(table, order)
        free = [max(0, place + 1 - FREE_LAYERS) for place in range(len(order))]
        self.first = [windows.get(state, free) for state in self.states]
        self.uses = list(itertools.product(*(range(len(one.devices) + 1) for one in capped)))
        self.before = [self._fewer(one) for one in self.class_of]

    def _fewer(self, one: DeviceClass) -> Ints:
        """Return [U] the use before one device of the class was added; -1 where there is none, itself without caps."""
        if one not in self.capped:
            return np.arange(len(self.uses))
        at = list(self.capped).index(one)
        number = {use: index for index, use in enumerate(self.uses)}
        fewer = [number.get((*use[:at], use[at] - 1, *use[at + 1 :]), -1) for use in self.uses]
        return np.array(fewer, dtype=np.int64)

    def run(self, until: float, together: Set[int]) -> Proposal | None:
        """Fill the table of best costs place by place, then read the slices off it."""
        count = len(self.order)
        best = np.full((count + 1, len(self.uses)), np.inf)
        best[0, 0] = 0.0
        came = np.zeros((count + 1, len(self.uses), 2), dtype=np.int64)
        """[L + 1, U] (first place, column) of the last slice"""
        costs = _SliceCosts(self, count)
        for place in range(count):
            if not place % 64 and time.monotonic() > until:
                return None
            costs.grow(place)
            if self.order[place] in together:
                best[place] = np.inf
            if place + 1 < count and self.order[place + 1] in together:
                continue
            for column, before in enumerate(self.before):
                first = self.first[column][place]
                if first > place:
                    continue
                reached = best[first : place + 1] + costs.of[column, first : place + 1, None]
                start = reached.argmin(axis=0)
                least = np.where(before >= 0, reached[start[before], before], np.inf)
                better = least < best[place + 1]
                best[place + 1, better] = least[better]
                came[place + 1, better, 0] = first + start[before][better]
                came[place + 1, better, 1] = column
        use = int(best[count].argmin())
        return self._trace(came, use) if np.isfinite(best[count, use]) else None

    def _trace(self, came: Ints, use: int) -> Proposal:
        left = {number: list(one.devices) for number, one in enumerate(self.classes)}
        slices: list[PlacedSlice] = []
        end = len(self.order)
        while end > 0:
            first, column = came[end, use].tolist()
            one = self.class_of[column]
            devices = left[list(self.classes).index(one)]
            device = devices.pop() if one in self.capped else devices[0]
            state = one.state_on(self.table, self.states[column], device)
            slices.append(PlacedSlice(self.order[first:end], state))
            use, end = int(self.before[column][use]), first
        return tuple(reversed(slices))


class _SliceCosts:
    """Costs of the slices that end at the current place, by column and first place, grown place by place."""

    def __init__(self, program: _Program, count: int) -> None:
        table = program.table
        self.program = program
        self.of: Floats = np.zeros((len(program.states), count))
        """[C, L] cost of the slice from each first place"""
        place = {layer: at for at, layer in enumerate(program.order)}
        self.maker = [place[layer] if layer >= 0 else -1 for layer in table.rows.producer]
        self.readers = [sorted(place[layer] for layer in readers) for readers in table.consumers]
        self.latest = [-1] * len(self.maker)
        """[T] the latest reader so far"""

    def grow(self, place: int) -> None:
        """Let every slice also hold the layer at ``place``."""
        program, of, table = self.program, self.of, self.program.table
        layer = program.order[place]
        of[:, place] = program.overhead
        of[:, : place + 1] += program.layer[layer][:, None]
        for tensor in table.layer_inputs[layer]:
            maker = self.maker[tensor]
            begin = max(maker, self.latest[tensor]) + 1
            of[:, begin : place + 1] += program.from_host[tensor][:, None]
            self.latest[tensor] = place
            if maker >= 0 and self.readers[tensor][-1] == place and not table.rows.is_output[tensor]:
                of[:, : maker + 1] -= program.to_host[tensor][:, None]
        for tensor in table.layer_outputs[layer]:
            if table.rows.is_output[tensor] or self.readers[tensor]:
                of[:, : place + 1] += program.to_host[tensor][:, None]
