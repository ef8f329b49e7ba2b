"""Plans by cutting topological orders into slices, for one weighing of seconds and joules or along their hull."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats, Ints
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.chain.method import best_slices
from mosaic_onnx.planner.core.lagrangian_hull import Asked, Hull, Supported, promise_of
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.objective import has_joules, single_weights
from mosaic_onnx.planner.core.objective_weights import LATENCY, Weighed, Weights, weigh
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.placement.memory_prices import with_prices

INF = float("inf")
SECONDS_PER_CHOICE = 5e-5
"""Roughly what the program along an order takes for a layer and state: it is not begun where that is too long."""
PRICE_STEPS = 12
"""Number of times that the price of a byte is doubled to make slices keep a device's cap."""


def cut_plans(
    table: CostTable,
    request: Request,
    orders: Sequence[Sequence[int]],
    states: Ints | None,
    until: float,
    prices: Floats | None = None,
) -> Iterator[Proposal]:
    """Yield the best slices along each order, as long as there is time; under limits and for products along the hull.

    Args:
        table: costs.
        request: with objective and limits.
        orders: topological orders, likely ones first.
        states: [L] a placement, whose devices groups are kept on; None for each group's fastest.
        until: ``time.monotonic()`` when to stop.
        prices: [D] weighed cost of a byte at which slices are likely to keep device caps; None where none are known.
    """
    single = single_weights(request) if has_joules(table) else LATENCY
    found: list[Proposal] = []
    longest = SECONDS_PER_CHOICE * table.layer_s.size
    for order in orders:
        began = time.monotonic()
        if began + longest > until:
            break
        cutter = _Cutter(table, order, states, until, found, prices)
        if single is not None:
            cutter.ask(single)
        else:
            Hull(cutter.ask).explore(promise_of(request), until)
        yield from found
        found.clear()
        longest = max(longest, time.monotonic() - began)


@dataclass
class _Cutter:
    """Cuts one order for any weights.

    Attributes:
        table: costs.
        order: a topological order.
        states: [L] a placement, whose devices groups are kept on.
        until: when to stop.
        found: all proposals so far.
        prices: [D] weighed cost of a byte on each device.
    """

    table: CostTable
    order: Sequence[int]
    states: Ints | None
    until: float
    found: list[Proposal]
    prices: Floats | None

    def ask(self, weights: Weights) -> Asked:
        """The best slices for these weights as a point; no bound is proved, so the point's own value stands for it."""
        best: tuple[float, Supported] | None = None
        for proposal in self._cut(weights):
            self.found.append(proposal)
            try:
                timeline = simulate(self.table, proposal)
            except InfeasibleError:
                continue
            seconds, joules = timeline.seconds, timeline.joules or 0.0
            value = weights.seconds * seconds + weights.joules * joules
            if best is None or value < best[0]:
                best = value, Supported(seconds, joules, np.zeros(0, dtype=np.int64), proposal)
        return Asked(weights, 0.0, None) if best is None else Asked(weights, best[0], best[1])

    def _cut(self, weights: Weights) -> Iterator[Proposal]:
        """The slices; where they break a device's cap, more: spread over devices, and with bytes at a growing price."""
        weighed = _groups_placed(self.table, weigh(self.table, weights), self.states)
        loose = replace(self.table, group=np.full_like(self.table.group, -1))
        if self.prices is not None:
            weighed = with_prices(loose, weighed, self.prices)
        began = time.monotonic()
        try:
            proposal = best_slices(loose, weighed, self.order).proposal
            yield proposal
            taken = time.monotonic() - began
            if over_memory(self.table, proposal):
                apart = replace(loose, io_host=loose.io_host | np.isfinite(loose.memory_bytes))
                yield spread(self.table, proposal)
                if time.monotonic() + taken > self.until:
                    return
                yield spread(self.table, best_slices(apart, weighed, self.order).proposal)
                yield from _within_memory(loose, weighed, self.order, self.until)
        except InfeasibleError:
            return


def _groups_placed(table: CostTable, weighed: Weighed, states: Ints | None) -> Weighed:
    """The costs with every group's layers only on one device, so that programs along an order need not know of it."""
    layer = weighed.layer.copy()
    for group in np.unique(table.group[table.group >= 0]):
        members = np.flatnonzero(table.group == group)
        if states is not None:
            device = table.state_device[states[members[0]]]
        else:
            device = table.state_device[int(weighed.layer[members].sum(axis=0).argmin())]
        layer[np.ix_(members, np.flatnonzero(table.state_device != device))] = INF
    return replace(weighed, layer=layer)


def spread(table: CostTable, proposal: Proposal) -> Proposal:
    """The slices, each that finds its device's memory full moved to the fastest device with room, if there is one."""
    room = table.memory_bytes.copy()
    seconds = np.where(possible_states(table), table.layer_s, INF)
    spread_out = []
    for layers, state in proposal:
        needed = table.parameter_bytes[list(layers)].sum(axis=0)
        fits = needed <= room[table.state_device]
        costs = np.where(fits, seconds[list(layers)].sum(axis=0), INF)
        chosen = state if fits[state] or np.isinf(costs.min()) else int(costs.argmin())
        room[table.state_device[chosen]] -= needed[chosen]
        spread_out.append(PlacedSlice(layers, chosen))
    return tuple(spread_out)


def _within_memory(table: CostTable, weighed: Weighed, order: Sequence[int], until: float) -> Iterator[Proposal]:
    """Yield slices along an order under growing prices per byte of the devices that hold too much."""
    capped = np.isfinite(table.memory_bytes)[table.state_device]
    finite = np.where(np.isfinite(weighed.layer), weighed.layer, 0.0)
    price = float(finite.max(initial=0.0)) / max(float(table.parameter_bytes.max(initial=0)), 1.0) / PRICE_STEPS
    prices = np.zeros(len(table.device_names))
    for _ in range(PRICE_STEPS):
        if time.monotonic() > until or not price:
            return
        dearer = weighed.layer + (prices[table.state_device] * capped)[None, :] * table.parameter_bytes
        try:
            proposal = best_slices(table, replace(weighed, layer=dearer), order).proposal
        except InfeasibleError:
            return
        used = parameters_used(table, proposal)
        over = used > table.memory_bytes
        if not over.any():
            yield proposal
            return
        prices = np.where(over, np.maximum(2.0 * prices, price), prices)


def parameters_used(table: CostTable, proposal: Proposal) -> Floats:
    """Return [D] bytes of parameters on each device."""
    used = np.zeros(len(table.device_names))
    for layers, state in proposal:
        used[table.state_device[state]] += table.parameter_bytes[list(layers), state].sum()
    return used


def over_memory(table: CostTable, proposal: Proposal) -> bool:
    """Return whether the parameters alone break a device's cap."""
    return bool((parameters_used(table, proposal) > table.memory_bytes).any())
