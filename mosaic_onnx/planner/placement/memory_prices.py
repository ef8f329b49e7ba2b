"""Memory caps of devices by prices on their bytes: a lower bound, and placements that keep the caps.

Lagrangian relaxation: a byte of parameters on device d costs ``price[d]``, and what the caps would have cost is given
back. A plan that keeps its caps pays no more than that, so the least priced cost is a lower bound at any prices. They
are improved by subgradient steps with Polyak's length; each step solves the uncapped placement problem exactly, by
elimination. The placements met on the way are repaired: layers leave devices that hold too much, the cheapest byte
first.
"""

from __future__ import annotations

import heapq
import time
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats, Ints
from mosaic_onnx.planner.core.deadline import TimeUpError, check_time, timed
from mosaic_onnx.planner.core.lower_bounds import scratch_alone
from mosaic_onnx.planner.core.objective_weights import Weighed
from mosaic_onnx.planner.placement import elimination
from mosaic_onnx.planner.placement.problem import Placement, placement, value
from mosaic_onnx.planner.placement.relax import Relaxed

INF = float("inf")
STEPS = 60
CLOSE = 1e-4
"""A relative gap between bound and repaired placement at which the prices are good enough."""
NO_GAIN = 5
"""After so many steps without a higher bound the steps get shorter."""


@dataclass(frozen=True, eq=False)
class Priced:
    """The result of pricing memory.

    Attributes:
        relaxed: the best bound, with the cheapest repaired placement (None where none keeps the caps).
        prices: [D] weighed cost of a byte, those of the best bound.
        placements: [L] states each; repaired placements, the cheapest first.
    """

    relaxed: Relaxed
    prices: Floats
    placements: tuple[Ints, ...]


def price_memory(table: CostTable, weighed: Weighed, until: float) -> Priced | None:
    """Return bound, prices and placements under device caps; None where the graph is too wide for elimination.

    Args:
        table: costs.
        weighed: the same costs, each as one number.
        until: ``time.monotonic()`` at which to stop.
    """
    try:
        problem = placement(table, weighed, until=until)
        prepared = elimination.prepare(problem, until=until)
    except TimeUpError:
        return None
    if prepared is None:
        return None
    search = _Search(table, problem, prepared, until)
    search.run()
    if search.bound == -INF:
        return None
    uncovered = tuple(word for word in problem.uncovered if not word.startswith("memory caps"))
    how = "prices on the bytes of capped devices (Lagrangian relaxation)"
    best = search.repaired[0][2] if search.repaired else None
    relaxed = Relaxed(search.bound, best, how, False, (*uncovered, "scratch memory"))
    return Priced(relaxed, search.best_prices, tuple(states for _, _, states in search.repaired))


class _Search:
    """Subgradient steps over the prices."""

    def __init__(self, table: CostTable, problem: Placement, prepared: elimination.Prepared, until: float) -> None:
        self.table, self.problem, self.prepared, self.until = table, problem, prepared, until
        self.caps = np.where(np.isfinite(table.memory_bytes), table.memory_bytes, INF)
        self.capped = np.isfinite(self.caps)
        self.layers = np.arange(len(table.layer_names))
        self.prices = self.best_prices = np.zeros(len(self.caps))
        self.bound = -INF
        self.repaired: list[tuple[float, int, Ints]] = []
        """(cost, number, states), the cheapest first"""

    def run(self) -> None:
        """Make steps until the gap is small or the time is up."""
        with suppress(TimeUpError):
            self._descend()

    def _descend(self) -> None:
        length, idle = 1.0, 0
        for number in range(STEPS):
            began = time.monotonic()
            least, states = self.prepared.solve(self._priced_costs(), self.until)
            bound = least - float(self.prices[self.capped] @ self.caps[self.capped])
            if bound > self.bound + 1e-12 * abs(bound):
                self.bound, self.best_prices, idle = bound, self.prices, 0
            else:
                idle += 1
                if idle >= NO_GAIN:
                    length, idle, self.prices = length / 2, 0, self.best_prices
            self._repair(states, number)
            over = np.where(self.capped, self._used(states) - self.caps, 0.0)
            slope = np.where((self.prices > 0) | (over > 0), over, 0.0)
            norm = float(slope @ slope)
            target = self.repaired[0][0] if self.repaired else 1.05 * max(self.bound, 1e-30)
            done = not norm or target - self.bound <= CLOSE * target
            if done or 2 * time.monotonic() - began > self.until:
                return
            gain = max(target - bound, CLOSE * target)
            self.prices = np.maximum(self.prices + length * gain / norm * over, 0.0)

    def _priced_costs(self) -> list[Floats]:
        """Return [L] the layers' costs with their bytes paid for."""
        table, price = self.table, self.prices[self.table.state_device]
        return [
            costs + price[choices] * table.parameter_bytes[layer, choices]
            for layer, (costs, choices) in enumerate(zip(self.problem.unary, self.problem.choices, strict=True))
        ]

    def _used(self, states: Ints) -> Floats:
        """Return [D] bytes of parameters."""
        bytes_used = self.table.parameter_bytes[self.layers, states]
        used = np.zeros(len(self.caps))
        np.add.at(used, self.table.state_device[states], bytes_used)
        return used

    def _repair(self, states: Ints, number: int) -> None:
        found = Repair(self.table, self.problem, states, self.until).run()
        if found is not None:
            self.repaired.append((value(self.problem, found), number, found))
            self.repaired = sorted(self.repaired, key=lambda one: one[:2])[:4]


class Repair:
    """Moves layers off devices that hold too much."""

    def __init__(self, table: CostTable, problem: Placement, states: Ints, until: float) -> None:
        """Start from a placement: [L] states; ``TimeUpError`` is raised after ``until``."""
        self.until = until
        self.table, self.problem = table, problem
        self.states = states.copy()
        self.device = table.state_device
        self.at = [int(np.searchsorted(choices, states[n])) for n, choices in enumerate(problem.choices)]
        scratch = scratch_alone(table)
        reserve = [float(scratch[:, self.device == d].max(initial=0)) for d in range(len(table.device_names))]
        used = np.zeros(len(reserve))
        layers = np.arange(len(states))
        np.add.at(used, self.device[states], table.parameter_bytes[layers, states])
        self.room: list[float] = (table.memory_bytes - np.array(reserve) - used).tolist()
        self.links: list[list[tuple[int, Floats]]] = [[] for _ in layers]
        """[L] (other layer, cost by own choice and its choice)"""
        for (one, other), costs in problem.links.items():
            self.links[one].append((other, costs))
            self.links[other].append((one, costs.T))
        self.hubs: list[list[int]] = [[] for _ in layers]
        for number, hub in enumerate(problem.hubs):
            for layer in {hub.producer, *hub.readers} - {-1}:
                self.hubs[layer].append(number)
        self.grouped = {layer for group in problem.groups for layer in group}

    def run(self) -> Ints | None:
        """Return [L] states that keep every cap, scratch memory of single layers included; None where it fails."""
        for device in sorted(range(len(self.room)), key=lambda d: self.room[d]):
            if self.room[device] < 0 and not self._unload(device):
                return None
        return self.states

    def _unload(self, device: int) -> bool:
        waiting = [
            (self._rate(layer)[0], layer)
            for layer in timed(np.flatnonzero(self.device[self.states] == device).tolist(), self.until)
        ]
        heapq.heapify(waiting)
        while self.room[device] < 0 and waiting:
            check_time(self.until)
            rate, layer = heapq.heappop(waiting)
            now, choice = self._rate(layer)
            if choice < 0:
                continue
            if now > rate + 1e-15 and waiting and now > waiting[0][0]:
                heapq.heappush(waiting, (now, layer))
                continue
            self._move(layer, choice)
        return self.room[device] >= 0

    def _rate(self, layer: int) -> tuple[float, int]:
        """The least that moving the layer costs per byte freed, and the choice; (inf, -1) where it cannot move."""
        choices, here = self.problem.choices[layer], self.at[layer]
        own = int(self.table.parameter_bytes[layer, choices[here]])
        if layer in self.grouped or not own:
            return INF, -1
        best = (INF, -1)
        costs = self._costs(layer)
        for choice, state in enumerate(choices.tolist()):
            device = int(self.device[state])
            fits = self.table.parameter_bytes[layer, state] <= self.room[device]
            if device != self.device[choices[here]] and fits:
                best = min(best, (float(costs[choice] - costs[here]) / own, choice))
        return best

    def _costs(self, layer: int) -> Floats:
        """Return [choices] cost of each choice of the layer, all others where they are."""
        costs = self.problem.unary[layer].copy()
        for other, pair in self.links[layer]:
            costs += pair[:, self.at[other]]
        for number in self.hubs[layer]:
            hub = self.problem.hubs[number]
            here = self.at[layer]
            for choice in range(len(costs)):
                self.at[layer] = choice
                made = self.at[hub.producer] if hub.producer >= 0 else 0
                places = {int(self.problem.state_place[self.problem.choices[r][self.at[r]]]) for r in hub.readers}
                costs[choice] += hub.cost_of(made, places)
            self.at[layer] = here
        return costs

    def _move(self, layer: int, choice: int) -> None:
        bytes_of, choices = self.table.parameter_bytes, self.problem.choices[layer]
        old, new = int(choices[self.at[layer]]), int(choices[choice])
        self.room[int(self.device[old])] += int(bytes_of[layer, old])
        self.room[int(self.device[new])] -= int(bytes_of[layer, new])
        self.at[layer], self.states[layer] = choice, new


def with_prices(table: CostTable, weighed: Weighed, prices: Floats) -> Weighed:
    """Return the costs with every layer's parameters paid for at the prices [D] of a byte."""
    extra = prices[table.state_device][None, :] * table.parameter_bytes
    segments = {
        (first, last, state): cost + float(extra[first : last + 1, state].sum())
        for (first, last, state), cost in weighed.segments.items()
    }
    return replace(weighed, layer=weighed.layer + extra, segments=segments)
