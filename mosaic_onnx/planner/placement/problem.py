"""The placement problem: a state for each layer, no order, no slices. What remains is what the exact methods solve.

A **place** is a memory: 0 is host's (shared by every device without a memory of its own), 1 + d is device d's. A tensor
pays once for each place that it must reach and once for host, whatever the order; so for resident devices without slice
overheads, caps, segments and level switches the placement's cost *is* the cheapest sequential plan's, and with them it
is a lower bound:

* a measured segment that is cheaper than its layers lowers the layers' costs until no segment undercuts them;
* an ``io: host`` device is charged as if it kept tensors, which it does not: every slice would pay again;
* slice overheads and level switches are charged only along one path of the graph, where they are certain;
* memory caps only forbid a state to a layer that does not fit on its own;
* copies that differ between levels of one device are charged at the cheapest level.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Bools, CostTable, Floats, Ints
from mosaic_onnx.planner.core.deadline import FOREVER, check_time, timed
from mosaic_onnx.planner.core.lower_bounds import (
    arrivals,
    certain_overhead,
    cheapest_switches,
    longest_path,
    places_of_states,
    possible_states,
    segment_floor,
    useful_states,
)
from mosaic_onnx.planner.core.objective_weights import LATENCY, Weighed, Weights, weigh


@dataclass(frozen=True, eq=False)
class Hub:
    """A tensor (or several with the same maker and readers) that more than one layer reads.

    Attributes:
        producer: the layer that makes it; -1 for the model's inputs.
        readers: layers that read it.
        places: [K] the memories that it may have to reach, ascending.
        arrival: [C, K] cost of reaching each place from each choice of the producer (C is 1 for inputs).
        by_host: [C, K] whether the way there is by host.
        to_host: [C] cost of reaching host, paid once if any way is by host.
    """

    producer: int
    readers: tuple[int, ...]
    places: tuple[int, ...]
    arrival: Floats
    by_host: Bools
    to_host: Floats

    @cached_property
    def cost(self) -> Floats:
        """Return [C, 2^K] cost of reaching each set of places; bit k of the column stands for ``places[k]``."""
        members = _members(len(self.places))
        return np.asarray(self.arrival @ members.T + self.to_host[:, None] * (self.by_host @ members.T > 0))

    def cost_of(self, choice: int, reached: Iterable[int]) -> float:
        """Return the cost of reaching these places from one choice of the producer."""
        bits = [self.places.index(place) for place in reached]
        passing = self.to_host[choice] if self.by_host[choice, bits].any() else 0.0
        return float(self.arrival[choice, bits].sum() + passing)


@dataclass(frozen=True, eq=False)
class Placement:
    """A state per layer is to be chosen so that ``unary`` + ``links`` + ``hubs`` is least.

    Attributes:
        choices: [L] arrays of the states that may be best for each layer, ascending.
        unary: [L] arrays, the cost of each choice.
        links: (earlier layer, later layer) -> [choices, choices] cost of the pair.
        hubs: tensors with several readers.
        groups: layers that must share a device.
        constant: cost that no choice changes.
        state_device: [S] device of each state.
        state_place: [S] memory of each state.
        exact: the best placement's cost is the best sequential plan's, not only a bound.
        uncovered: in words, what the value does not charge in full.
    """

    choices: tuple[Ints, ...]
    unary: tuple[Floats, ...]
    links: dict[tuple[int, int], Floats]
    hubs: tuple[Hub, ...]
    groups: tuple[tuple[int, ...], ...]
    constant: float
    state_device: Ints
    state_place: Ints
    exact: bool
    uncovered: tuple[str, ...]


def placement(table: CostTable, weighed: Weighed, keep: Bools | None = None, until: float = FOREVER) -> Placement:
    """Build the placement problem.

    Args:
        table: costs.
        weighed: the same costs, each as one number.
        keep: [L, S] the states to choose from; by default the useful ones (``useful_states``). Where two levels of one
            device are kept for a layer, level switches are charged along the path.
        until: ``time.monotonic()`` at which to give up.

    Raises:
        TimeUpError: it took longer.
    """
    check_time(until)
    builder = _Builder(table, weighed, useful_states(table, [weighed]) if keep is None else keep)
    builder.add_tensors(until)
    builder.add_path()
    return builder.build()


def is_exact(table: CostTable) -> bool:
    """Return whether the best placement is the best sequential plan: nothing depends on how layers form slices."""
    weighed = weigh(table, Weights(1.0, 1.0) if table.layer_j is not None else LATENCY)
    return not _uncovered(table, weighed, arrivals(table, weighed)[2])


def value(problem: Placement, states: Sequence[int] | Ints) -> float:
    """Return the cost of one placement; inf where a layer may not have its state or a group is torn."""
    at = []
    for layer, state in enumerate(states):
        found = np.flatnonzero(problem.choices[layer] == state)
        if not len(found):
            return float("inf")
        at.append(int(found[0]))
    total = problem.constant + sum(float(costs[at[layer]]) for layer, costs in enumerate(problem.unary))
    total += sum(float(costs[at[u], at[v]]) for (u, v), costs in problem.links.items())
    for hub in problem.hubs:
        reached = {int(problem.state_place[states[reader]]) for reader in hub.readers}
        total += hub.cost_of(at[hub.producer] if hub.producer >= 0 else 0, reached)
    torn = any(len({int(problem.state_device[states[layer]]) for layer in group}) > 1 for group in problem.groups)
    return float("inf") if torn else total


@cache
def _members(count: int) -> Floats:
    """Return [2^count, count] which bits each column has."""
    return ((np.arange(1 << count)[:, None] >> np.arange(count)) & 1).astype(np.float64)


class _Builder:
    """Collects the problem's terms; discarded once it is built."""

    def __init__(self, table: CostTable, weighed: Weighed, keep: Bools) -> None:
        self.table = table
        self.weighed = weighed
        self.place = places_of_states(table)
        self.all_levels = bool((keep == possible_states(table)).all())
        self.arrival, self.direct, arrival_exact = arrivals(table, weighed)
        self.choices = [np.flatnonzero(row) for row in keep]
        layer_cost = segment_floor(table, weighed)
        self.unary = [layer_cost[layer, states] for layer, states in enumerate(self.choices)]
        self.links: dict[tuple[int, int], Floats] = {}
        self.hubs: dict[tuple[int, tuple[int, ...], bytes], Hub] = {}
        self.constant = 0.0
        self.uncovered = _uncovered(table, weighed, arrival_exact)

    def add_tensors(self, until: float) -> None:
        """Charge every tensor: in its maker's row, in a link to its only reader, or in a hub."""
        for t in timed(range(len(self.table.tensor_names)), until):
            producer, readers = int(self.table.producer[t]), self.table.consumers[t]
            if producer >= 0 and self.table.is_output[t]:
                self._add_single(producer, self.weighed.to_host[t, self.choices[producer]])
            reached = {int(place) for reader in readers for place in self.place[self.choices[reader]]}
            hub = self._hub(t, producer, readers, tuple(sorted(reached)))
            alone = hub.arrival + hub.to_host[:, None] * hub.by_host
            if len(readers) == 1:
                bits = np.searchsorted(hub.places, self.place[self.choices[readers[0]]])
                self._add_pair(producer, readers[0], alone[:, bits])
            elif len(hub.places) == 1:
                self._add_single(producer, alone[:, 0])
            elif hub.places:
                self._add_hub(hub)

    def add_path(self) -> None:
        """Charge slice overheads and level switches along the longest path, where each change opens a new slice.

        Whether there is anything to charge is asked of the table, not of its weighed costs: then the problems in
        seconds and in joules have the same links, so that they can be held side by side.
        """
        table = self.table
        if not any(costs.any() for costs in (table.slice_s, table.slice_j, table.switch_s, table.switch_j)):
            return
        overhead = certain_overhead(self.table, self.weighed, by_device=not self.all_levels)
        switch = cheapest_switches(self.table, self.weighed) if self.all_levels else np.zeros_like(self.weighed.switch)
        path = longest_path(self.table)
        for index, layer in enumerate(path):
            states = self.choices[layer]
            opened = overhead[layer, states]
            if index == 0:
                self._add_single(layer, opened)
                continue
            before = self.choices[path[index - 1]]
            of = np.arange(len(self.place)) if self.all_levels else self.table.state_device
            other = of[before][:, None] != of[states][None, :]
            self._add_pair(path[index - 1], layer, other * opened + switch[np.ix_(before, states)])

    def build(self) -> Placement:
        numbers = sorted({int(number) for number in self.table.group if number >= 0})
        groups = [tuple(int(layer) for layer in np.flatnonzero(self.table.group == number)) for number in numbers]
        return Placement(
            choices=tuple(self.choices),
            unary=tuple(self.unary),
            links=self.links,
            hubs=tuple(self.hubs.values()),
            groups=tuple(group for group in groups if len(group) > 1),
            constant=self.constant,
            state_device=self.table.state_device,
            state_place=self.place,
            exact=not self.uncovered,
            uncovered=self.uncovered,
        )

    def _hub(self, t: int, producer: int, readers: tuple[int, ...], places: tuple[int, ...]) -> Hub:
        """Return what bringing tensor ``t`` to each place costs; its way to host is free where it ends there anyway."""
        targets = np.array(places, dtype=np.int64)
        if producer < 0:
            arrival = self.arrival[t, targets][None, :]
            return Hub(producer, readers, places, arrival, np.zeros_like(arrival, dtype=np.bool_), np.zeros(1))
        makers = self.choices[producer]
        away = self.place[makers][:, None] != targets[None, :]
        straight = np.full(away.shape, np.inf) if self.direct is None else self.direct[t][np.ix_(makers, targets)]
        by_host = ~np.isfinite(straight)
        arrival = np.where(by_host, self.arrival[t, targets][None, :], straight) * away
        to_host = self.weighed.to_host[t, makers] * (not self.table.is_output[t])
        return Hub(producer, readers, places, arrival, by_host & away, to_host)

    def _add_hub(self, hub: Hub) -> None:
        """Tensors with the same maker, readers and ways travel together."""
        key = hub.producer, hub.readers, hub.by_host.tobytes()
        if key in self.hubs:
            other = self.hubs[key]
            hub = replace(hub, arrival=hub.arrival + other.arrival, to_host=hub.to_host + other.to_host)
        self.hubs[key] = hub

    def _add_single(self, layer: int, costs: Floats) -> None:
        if layer < 0:
            self.constant += float(costs[0])
        else:
            self.unary[layer] = self.unary[layer] + costs

    def _add_pair(self, producer: int, reader: int, costs: Floats) -> None:
        if producer < 0:
            self.unary[reader] = self.unary[reader] + costs[0]
        elif (producer, reader) in self.links:
            self.links[producer, reader] = self.links[producer, reader] + costs
        else:
            self.links[producer, reader] = costs


def _uncovered(table: CostTable, weighed: Weighed, copies_agree: bool) -> tuple[str, ...]:
    """In words, what keeps the placement's value from being the plan's."""
    used = table.state_device
    capped = np.isfinite(table.slice_memory_bytes[used]) | np.isfinite(table.memory_bytes[used])
    reasons = {
        "slice overheads off the longest path": bool(weighed.slice.any()),
        "level switches": bool(weighed.switch.any()),
        "memory caps of several layers": bool(capped.any()),
        "segments against the sum of their layers": bool(weighed.segments),
        "repeated copies of io:host devices": bool((table.io_host & table.own_memory)[used].any()),
        "copies that differ between levels": not copies_agree,
    }
    return tuple(reason for reason, present in reasons.items() if present)
