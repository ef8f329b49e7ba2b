"""Throughput with one slice a device: the chain of slices whose largest device load is smallest.

First an interval program, over the prefixes of a few topological orders; then the program over all downward-closed
sets, where they are few, which is exact; else over the sets near the cuts found so far, as long as that helps. Where
the exact program ran, its value is the bound; else the fractional area bound is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.graph.topological import order_by_sources
from mosaic_onnx.planner.core.deadline import TimeUpError, part_of
from mosaic_onnx.planner.core.device_classes import DeviceClass, device_classes
from mosaic_onnx.planner.core.orders import candidate_orders
from mosaic_onnx.planner.core.request import Answer, PlacedSlice, Proposal, Request
from mosaic_onnx.planner.throughput.order_ideals import Lattice
from mosaic_onnx.planner.throughput.pipeline_costs import PipelineCosts, caps_can_bind, pipeline_costs
from mosaic_onnx.planner.throughput.pipeline_dp import MAX_USES, Caps, Chain, ChainProgram, ChainSlice, use_count
from mosaic_onnx.planner.throughput.units import Units, units

MAX_IDEALS = 120_000
"""So many downward-closed sets are few."""
SEVERAL_ORDERS = 2_000
"""Up to so many units, prefixes of several orders are looked at together."""
NEAR_IDEALS = 3_000
"""Number of sets around the cuts of the best plan one round of improvement looks at."""
STRICTLY = 1 - 1e-9
"""A load must be below this part of the best one to count as better."""


def one_slice_per_device(table: CostTable, request: Request) -> Answer:
    """Return the best pipeline with at most one slice on each device, and a bound.

    Raises:
        InfeasibleError: groups, caps and what devices can run leave no such plan.
    """
    search = _Search(table, time.monotonic() + request.time_limit_s)
    search.along_orders()
    exact = search.through_all_ideals()
    if not exact:
        search.near_the_cuts()
    if search.best.slices is None and search.plain.caps_exact and exact and search.all_devices:
        raise InfeasibleError(
            "no plan with one slice per device exists: groups, pins and memory caps leave none",
            "Allow several slices per device, or relax a cap, a pin or a group.",
        )
    bound, bound_method = search.bound()
    best_first = reversed(search.found)  # each one that was kept was better than those before
    proposals = tuple(search.proposal(chain) for chain in best_first if chain.slices is not None)
    return Answer(proposals, bound, bound_method)


class _Search:
    """One search: the units, their costs, the best chain so far."""

    def __init__(self, table: CostTable, deadline: float) -> None:
        self.table, self.deadline = table, deadline
        self.classes = _classes(table)
        plain = not table.segments and not table.direct_s
        self.units = units(table, join_idle=plain and not caps_can_bind(table))
        self.lattice = Lattice(self.units)
        self.plain = pipeline_costs(table, self.units, self.classes)
        self.floor = self.plain if not table.segments else pipeline_costs(table, self.units, self.classes, floor=True)
        self.exact_costs = plain and self.plain.caps_exact
        self.all_devices = sum(len(one.devices) for one in self.classes) == len(table.device_names)
        self.ideals: list[int] | None = None
        self.best = Chain(None, math.inf, finished=False)
        self.found: list[Chain] = []
        self.proved: float | None = None
        self.area_s = 0.0

    def along_orders(self) -> None:
        """The interval program along the list's order, then over several orders at once if there is time."""
        listed = range(len(self.units.layers))
        self._along([listed], math.inf)
        if len(listed) > SEVERAL_ORDERS:
            return
        with suppress(TimeUpError):
            found = candidate_orders(self.table, until=self.deadline)
            orders = [unit_order(self.units, order) for order in found]
            self._along([listed, *orders], part_of(self.deadline, 0.5))

    def _along(self, orders: Sequence[Sequence[int]], deadline: float) -> None:
        """The best chain through the prefixes of some orders."""
        prefixes = self.lattice.prefixes(orders)
        if len(prefixes) > self.lattice.most(len(prefixes)):
            return
        program = self._program(prefixes, self.plain, "most", complete=False)
        self.area_s = program.area.seconds
        # Far more than the bound is seldom needed, and a low limit makes the program fast.
        for factor in (1.25, 2.0, 8.0, math.inf):
            limit_s = min(max(self.area_s, 1e-12) * factor, self.best.seconds * STRICTLY)
            chain = program.run(limit_s, deadline)
            self._keep(chain)
            if chain.slices is not None or not chain.finished or limit_s >= self.best.seconds * STRICTLY:
                return

    def through_all_ideals(self) -> bool:
        """Return the program over all ideals, where they are few; whether it looked at all of them."""
        limit = self.lattice.most(MAX_IDEALS)
        share = time.monotonic() + (self.deadline - time.monotonic()) / 3
        self.ideals = self.lattice.all_ideals(limit, share)
        if self.ideals is None:
            return False
        program = self._program(self.ideals, self.plain, "least", complete=True)
        chain = program.run(self.best.seconds * STRICTLY, self.deadline)
        if not chain.finished:
            return False
        if self.plain.caps_exact:
            self._keep(chain)
        else:
            self._keep_what_fits(chain)
        if self.floor is self.plain:
            self.proved = min(chain.seconds, self.best.seconds)
        else:
            lowered = self._program(self.ideals, self.floor, "least", complete=True)
            bound = lowered.run(self.best.seconds, self.deadline)
            self.proved = min(bound.seconds, self.best.seconds) if bound.finished else None
        return True

    def near_the_cuts(self) -> None:
        """Improve the best plan by the ideals around its cuts, until that does not help or the time is up."""
        limit, per_ideal_s = NEAR_IDEALS, 0.0
        while self.best.slices is not None and time.monotonic() + per_ideal_s * limit < self.deadline:
            began = time.monotonic()
            cuts = self._cuts(self.best.slices)
            near = self.lattice.around([0, *cuts], limit)
            if len(near) > self.lattice.most(len(near)):
                return
            program = self._program(near, self.plain, "most", complete=False)
            per_ideal_s = (time.monotonic() - began) / len(near)
            chain = program.run(self.best.seconds * STRICTLY, self.deadline)
            if not chain.finished:
                return
            if chain.slices is None:
                if len(near) < limit or limit > 8 * NEAR_IDEALS:
                    return
                limit *= 2
            self._keep(chain)

    def bound(self) -> tuple[float | None, str]:
        """Return the best lower bound proved, and how."""
        if self.proved is not None and math.isfinite(self.proved) and self.all_devices:
            exact = self.exact_costs and self.best.seconds <= self.proved
            return self.proved, "all downward-closed sets, exact" if exact else "all downward-closed sets"
        if not self.all_devices:
            return None, ""
        area = self._program([], self.floor, "least", complete=False).area if self.floor is not self.plain else None
        return (self.area_s if area is None else area.seconds), "fractional area"

    def proposal(self, chain: Chain) -> Proposal:
        """Return the chain as slices on devices; the devices of a class are taken in their order."""
        left = {number: list(one.devices) for number, one in enumerate(self.classes)}
        placed = []
        for part in chain.slices or ():
            device = left[part.device_class].pop(0)
            state = self.classes[part.device_class].state_on(self.table, part.state, device)
            layers = sorted(layer for unit in part.units for layer in self.units.layers[unit])
            placed.append(PlacedSlice(tuple(layers), state))
        return tuple(placed)

    def _program(self, ideals: Sequence[int], costs: PipelineCosts, caps: Caps, *, complete: bool) -> ChainProgram:
        family = self.lattice.family(ideals, complete=complete)
        return ChainProgram(self.table, self.units, costs, family, caps)

    def _keep(self, chain: Chain) -> None:
        if chain.slices is not None and chain.seconds < self.best.seconds:
            self.best = chain
            self.found.append(chain)

    def _keep_what_fits(self, optimist: Chain) -> None:
        """Offer the optimist's chain for judging, and one that surely fits, where memory does not simply add up."""
        if optimist.slices is not None:
            self.found.append(optimist)
        if self.ideals is not None:
            program = self._program(self.ideals, self.plain, "most", complete=True)
            self._keep(program.run(self.best.seconds * STRICTLY, self.deadline))

    def _cuts(self, slices: Sequence[ChainSlice]) -> list[int]:
        """Return the ideals between the slices of a chain."""
        return list(accumulate(sum(1 << unit for unit in part.units) for part in slices))


def _classes(table: CostTable) -> tuple[DeviceClass, ...]:
    """Return classes of alike devices; where they are too many to tell apart, those with the fastest devices."""
    classes = list(device_classes(table))
    finite = np.isfinite(table.layer_s)
    speed = (finite / np.maximum(np.where(finite, table.layer_s, np.inf), 1e-12)).sum(axis=0)
    classes.sort(key=lambda one: -max(speed[state] for state in one.states))
    while use_count(classes) > MAX_USES and len(classes) > 1:
        classes.pop()
    return tuple(classes)


def unit_order(units: Units, layer_order: Sequence[int]) -> list[int]:
    """Return the units in a topological order, each as early as the order of its layers asks."""
    place = {layer: step for step, layer in enumerate(layer_order)}
    first = [min(place[layer] for layer in layers) for layers in units.layers]
    return list(order_by_sources(units.before, rank=first).positions)
