"""Throughput by prices on the seconds and the bytes of each device: a lower bound, and placements mixed into plans.

Lagrangian relaxation: a second of load r costs ``price[r]`` (the prices sum to 1), a byte of parameters on a capped
device ``byte_price[d]``. A load is that of a device, or of a group of devices that exclude each other; a second of a
device costs what its loads cost together. The largest load of a plan is at least the priced sum of all loads, so the
cheapest placement at any prices, transfers counted, bounds every plan from below. The placements met on the way are
columns of a linear program (Dantzig and Wolfe, 1960): the mixture of them whose largest load is least within the caps.
Its dual solution gives the next prices.

A mixture is made a plan by giving each column a stretch of the layers' order, as long as its share: loads are then
nearly those of the mixture, and transfers are added only where stretches meet.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats, Ints
from mosaic_onnx.planner.core.deadline import TimeUpError
from mosaic_onnx.planner.core.lower_bounds import possible_states, scratch_alone
from mosaic_onnx.planner.core.objective_weights import LATENCY, Weighed, weigh
from mosaic_onnx.planner.placement import elimination
from mosaic_onnx.planner.placement.problem import placement

STEPS = 60
IDLE_STEPS = 8
"""After so many steps without a higher bound, the prices are as good as they get."""
CLOSE = 2e-3
"""Relative gap between the bound and the mixture at which prices are good enough."""
SWEEPS = 4
"""Number of times that all places where stretches meet are moved."""
OVER_CAP = 10.0
"""The penalty in the mixture of exceeding all caps by their whole size, in bounds."""
SMOOTHING = 0.5
"""Share of the best prices so far in the prices that are tried next."""


@dataclass(frozen=True, eq=False)
class Mixed:
    """The result.

    Attributes:
        bound_s: no plan's largest device load is less.
        placements: [L] states each; mixtures made plans, the best first, then the columns.
    """

    bound_s: float
    placements: tuple[Ints, ...]


@dataclass(frozen=True, eq=False)
class _Column:
    """A placement, with the loads and bytes of each of its layers."""

    states: Ints
    loads: Floats
    """[L, D] seconds of each layer and of the copies of what it makes, on the devices that they keep busy"""
    held: Floats
    """[L, D] bytes of parameters"""


def price_loads(table: CostTable, start: Ints | None, until: float) -> Mixed | None:
    """Return bound and placements; None where the graph is too wide for elimination, or time ends before one is found.

    Args:
        table: costs.
        start: [L] states of a plan that is known, or None.
        until: ``time.monotonic()`` at which to stop.
    """
    search = _Search(table, until)
    try:
        if not search.prepare():
            return None
        if start is not None:
            search.add(start)
        search.run()
    except TimeUpError:
        pass
    return search.result() if search.bound_s > 0 else None


class _Search:
    """Column generation."""

    def __init__(self, table: CostTable, until: float) -> None:
        self.table, self.until = table, until
        self.device_count = len(table.device_names)
        self.members = np.zeros((len(table.one_at_a_time), self.device_count))
        """[R, D] 1 where the device is of the load"""
        for load, devices in enumerate(table.one_at_a_time):
            self.members[load, list(devices)] = 1.0
        self.weighed = weigh(table, LATENCY)
        self.keep = possible_states(table)
        scratch = scratch_alone(table)
        reserve = [scratch[:, table.state_device == d].max(initial=0) for d in range(self.device_count)]
        self.room = table.memory_bytes - np.array(reserve, dtype=np.float64)
        """[D] bytes for parameters beside scratch memory, for plans; bounds count the whole cap"""
        self.capped = np.isfinite(table.memory_bytes)
        self.columns: list[_Column] = []
        self.bound_s = 0.0
        self.mixture_s = float("inf")
        self.shares: Floats = np.zeros(0)
        self.best_prices: tuple[Floats, Floats] | None = None
        self.order: list[int] = []

    def prepare(self) -> bool:
        """Find the elimination order, which holds for all prices; whether there is one."""
        problem = placement(self.table, self.weighed, self.keep, self.until)
        prepared = elimination.prepare(problem, until=self.until)
        if prepared is not None:
            self.order = prepared.order
        return prepared is not None

    def run(self) -> None:
        """Ask for columns until the mixture is nearly at the bound, or the time is up."""
        even = np.full(len(self.members), 1.0 / len(self.members))
        if not self._ask(even, np.zeros(self.device_count)):
            return
        idle = 0
        for _ in range(STEPS):
            began, before_s = time.monotonic(), self.bound_s
            prices = self._mix()
            if prices is None or self.mixture_s - self.bound_s <= CLOSE * self.mixture_s:
                return
            if self.best_prices is not None:
                prices = (
                    SMOOTHING * self.best_prices[0] + (1 - SMOOTHING) * prices[0],
                    SMOOTHING * self.best_prices[1] + (1 - SMOOTHING) * prices[1],
                )
            self._ask(*prices)
            idle = 0 if self.bound_s > before_s * (1 + CLOSE / 10) else idle + 1
            if idle == IDLE_STEPS or 2 * time.monotonic() - began > self.until:
                self._mix()
                return

    def add(self, states: Ints) -> None:
        """Add a placement as a column."""
        table = self.table
        layers = np.arange(len(states))
        devices = table.state_device[states]
        loads = np.zeros((len(states), self.device_count))
        loads[layers, devices] = table.layer_s[layers, states]
        held = np.zeros_like(loads)
        held[layers, devices] = table.parameter_bytes[layers, states]
        _add_copies(table, states, loads)
        self.columns.append(_Column(states, loads, held))

    def result(self) -> Mixed:
        """Return what was found."""
        mixed = self._stretched()
        columns = [column.states for column in reversed(self.columns)]
        return Mixed(self.bound_s * (1 - 1e-9), (*([mixed] if mixed is not None else []), *columns[:2]))

    def _ask(self, price: Floats, byte_price: Floats) -> bool:
        """Find the cheapest placement at [R] and [D] prices, and what it proves; whether there is any placement."""
        weighed = with_device_prices(self.table, self.weighed, price @ self.members, byte_price)
        problem = placement(self.table, weighed, self.keep, self.until)
        sizes, factors = elimination.factors_of(problem)
        least, picked = elimination.minimise(sizes, factors, self.order, self.until)
        if not np.isfinite(least):
            return False
        caps = np.where(self.capped, self.table.memory_bytes, 0.0)
        bound = (least + problem.constant - float(byte_price @ caps)) / max(float(price.sum()), 1e-300)
        if bound > self.bound_s:
            self.bound_s, self.best_prices = bound, (price, byte_price)
        self.add(np.array([choices[picked[n]] for n, choices in enumerate(problem.choices)], dtype=np.int64))
        return True

    def _mix(self) -> tuple[Floats, Floats] | None:
        """Return [R] and [D] prices of the best mixture of all columns, which is kept."""
        from scipy.optimize import linprog  # half a second, and few plans need it

        loads = self.members @ np.stack([column.loads.sum(axis=0) for column in self.columns], axis=1)
        held = np.stack([column.held.sum(axis=0) for column in self.columns], axis=1)[self.capped]
        room = np.maximum(self.room[self.capped], 1.0)
        count, load_count = len(self.columns), len(self.members)
        scale = max(self.bound_s, float(loads.max()) * 1e-6, 1e-30)
        limits = np.zeros((load_count + len(room), count + 2))
        limits[:load_count, :count], limits[:load_count, count] = loads / scale, -1.0
        limits[load_count:, :count], limits[load_count:, count + 1] = held / room[:, None], -1.0
        answer = linprog(
            c=np.concatenate([np.zeros(count), [1.0, OVER_CAP]]),
            A_ub=limits,
            b_ub=np.concatenate([np.zeros(load_count), np.ones(len(room))]),
            A_eq=np.concatenate([np.ones(count), [0.0, 0.0]])[None, :],
            b_eq=[1.0],
            method="highs",
        )
        if answer.status != 0:
            return None
        self.shares = np.asarray(answer.x[:count])
        self.mixture_s = float(answer.fun) * scale
        dual = np.maximum(-np.asarray(answer.ineqlin.marginals), 0.0)
        byte_price = np.zeros(self.device_count)
        byte_price[self.capped] = dual[load_count:] * scale / room
        return dual[:load_count], byte_price

    def _stretched(self) -> Ints | None:
        """Return the mixture as one placement: a stretch of layers for each column, moved until loads are least."""
        if len(self.shares) != len(self.columns):
            self.shares = np.resize(np.append(self.shares, 0.0), len(self.columns))
        used = [number for number in np.flatnonzero(self.shares > 1e-6).tolist()]
        if not used:
            return None
        used.sort(key=lambda number: int(self.columns[number].states[0]))
        loads = np.stack([_sums(self.columns[number].loads) for number in used])
        held = np.stack([_sums(self.columns[number].held) for number in used])
        count = loads.shape[1] - 1
        ends = np.round(np.cumsum(self.shares[used]) / self.shares[used].sum() * count).astype(np.int64)[:-1]
        cuts = [0, *ends.tolist(), count]
        for _ in range(SWEEPS):
            for number in range(1, len(cuts) - 1):
                cuts[number] = self._best_cut(loads, held, cuts, number)
        states = np.empty(count, dtype=np.int64)
        for number, column in enumerate(used):
            states[cuts[number] : cuts[number + 1]] = self.columns[column].states[cuts[number] : cuts[number + 1]]
        return _groups_joined(self.table, states)

    def _best_cut(self, loads: Floats, held: Floats, cuts: Sequence[int], number: int) -> int:
        """Return the place between two stretches at which the largest load is least, the caps kept first."""
        low, high = cuts[number - 1], cuts[number + 1]
        places = np.arange(low, high + 1)

        def total(sums: Floats) -> Floats:
            others = sum(
                sums[k, cuts[k + 1]] - sums[k, cuts[k]] for k in range(len(sums)) if k not in (number - 1, number)
            )
            left = sums[number - 1, places] - sums[number - 1, low]
            right = sums[number, high] - sums[number, places]
            return np.asarray(left + right + others)

        over = np.maximum(total(held) - self.room, 0.0)[:, self.capped].sum(axis=1)
        broken = over / max(float(self.room[self.capped].sum()), 1.0) if self.capped.any() else over
        largest = (total(loads) @ self.members.T).max(axis=1)
        return int(places[np.lexsort((largest, np.where(broken > 0, broken, 0.0)))[0]])


def with_device_prices(table: CostTable, weighed: Weighed, price: Floats, byte_price: Floats) -> Weighed:
    """Return the costs with seconds weighed by the device that they keep busy, and parameters paid for by the byte.

    Args:
        table: costs.
        weighed: seconds as they are.
        price: [D] of a second on each device; a copy from device to device keeps both busy.
        byte_price: [D] of a byte of parameters on each device.
    """
    device = table.state_device
    each, held = price[device], byte_price[device][None, :] * table.parameter_bytes
    segments = {
        (first, last, state): cost * each[state] + float(held[first : last + 1, state].sum())
        for (first, last, state), cost in weighed.segments.items()
    }
    layer = _times(weighed.layer, each) + held
    return replace(
        weighed,
        layer=layer,
        to_host=weighed.to_host * each,
        from_host=weighed.from_host * each,
        direct={(a, b): _times(costs, each[a] + each[b]) for (a, b), costs in weighed.direct.items()},
        switch=weighed.switch * each,
        slice=weighed.slice * price,
        segments=segments,
    )


def _times(costs: Floats, price: Floats | float) -> Floats:
    """Return costs at a price; inf, which stands for "cannot", stays that."""
    return np.where(np.isfinite(costs), np.where(np.isfinite(costs), costs, 0.0) * price, np.inf)


def _add_copies(table: CostTable, states: Ints, loads: Floats) -> None:
    """Add copies to [L, D] loads, at the layer that makes the tensor (its first reader for the model's inputs)."""
    rows = table.rows
    state_of, own = states.tolist(), rows.own_memory
    device_of = table.state_device[states].tolist()
    for tensor, readers in enumerate(table.consumers):
        maker = rows.producer[tensor]
        source = device_of[maker] if maker >= 0 else -1
        reached = {device_of[reader]: reader for reader in reversed(readers) if device_of[reader] != source}
        by_host = maker >= 0 and own[source] and rows.is_output[tensor]
        at = maker if maker >= 0 else readers[0] if readers else -1
        for device, reader in reached.items():
            direct = table.direct_s.get((state_of[maker], state_of[reader])) if maker >= 0 else None
            if direct is not None and np.isfinite(direct[tensor]):
                loads[at, [source, device]] += direct[tensor]
                continue
            by_host = by_host or (maker >= 0 and own[source])
            if own[device]:
                loads[at, device] += rows.from_host_s[tensor][state_of[reader]]
        if by_host:
            loads[at, source] += rows.to_host_s[tensor][state_of[maker]]


def _sums(values: Floats) -> Floats:
    """Return [L + 1, D] sums of the first layers."""
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])


def _groups_joined(table: CostTable, states: Ints) -> Ints:
    """Return the placement with each group in the state of its first layer, where that can run all of it."""
    for group in np.unique(table.group[table.group >= 0]):
        members = np.flatnonzero(table.group == group)
        if np.isfinite(table.layer_s[members, states[members[0]]]).all():
            states[members] = states[members[0]]
    return states
