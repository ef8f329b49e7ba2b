"""The interval method: the best slices of consecutive layers along a topological order.

On a chain it is exact (``chain``), on other graphs a good heuristic (``along``). Device-wide caps and level switches
are left out here, for ``labels`` to count and for the simulator to judge; groups are tried device by device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError, NoPlanFoundError
from mosaic_onnx.core.plans import Objective
from mosaic_onnx.planner.chain.chain_costs import chain_costs, is_chain, is_tight
from mosaic_onnx.planner.chain.dynamic_program import best_on_chain
from mosaic_onnx.planner.chain.graph_order import best_along
from mosaic_onnx.planner.core.lagrangian_hull import Asked, Hull, Supported, products
from mosaic_onnx.planner.core.objective_weights import ENERGY, LATENCY, Weighed, Weights, weigh
from mosaic_onnx.planner.core.request import Answer, Proposal, Request, within
from mosaic_onnx.planner.core.request_constraints import at_least
from mosaic_onnx.planner.core.simulate import simulate, value

INF = float("inf")
GROUP_CHOICES = 64
"""Up to so many ways to spread groups over devices are all tried; beyond, one group is moved at a time."""
MOST_PASSES = 32
"""Up to so many slices are demanded exactly, one pass for each; for more, slices are rewarded."""
REWARD_STEPS = 16


class Found(NamedTuple):
    """The best slices that were found for one weighing of seconds and joules.

    Attributes:
        cost: their weighed cost as the program counts it.
        proposal: the slices.
        bound: no slices of consecutive layers along the order cost less; None on graphs that are no chain.
        others: further slices that may be better for some objectives, where very many are demanded.
    """

    cost: float
    proposal: Proposal
    bound: float | None
    others: tuple[Proposal, ...] = ()


def interval(table: CostTable, request: Request) -> Answer:
    """Return the method: slices of consecutive layers in list order, with a bound where that is the only order."""
    if not table.layer_names:
        return Answer(((),), 0.0, "nothing to do")
    order = range(len(table.layer_names))

    if request.objective == "edp":
        hull = Hull(lambda weights: ask_chain(table, weights, request.min_slice_count))
        hull.explore(products, time.monotonic() + request.time_limit_s)
        proposals = tuple(point.proposal for point in hull.points)
        bound = hull.product_within() if is_chain(table, order) else None
    else:
        weights = ENERGY if request.objective == "energy" else LATENCY
        found = best_slices(table, weigh(table, weights), order, request.min_slice_count)
        proposals, bound = (found.proposal, *found.others), found.bound
    if request.schedule != "sequential" or request.objective == "throughput" or not is_tight(table):
        bound = None
    return Answer(proposals, bound, _bound_method(table, proposals, bound, request.objective))


def _bound_method(table: CostTable, proposals: tuple[Proposal, ...], bound: float | None, objective: Objective) -> str:
    """Return how the bound was proved: exact where a proposal reaches it."""
    for proposal in proposals if bound is not None else ():
        try:
            if within(value(simulate(table, proposal), objective), bound):
                return "interval, exact"
        except InfeasibleError:
            continue
    return "interval, without level switches and caps on devices"


def best_slices(
    table: CostTable, weighed: Weighed, order: Sequence[int] | None = None, min_slice_count: int = 0
) -> Found:
    """Return the best slices of consecutive layers along a topological order.

    Args:
        table: the costs.
        weighed: the same with seconds and joules as one number.
        order: the order; None for the list's.
        min_slice_count: at least so many slices, or as many as layers.

    Raises:
        InfeasibleError: proved: a group has no device.
        NoPlanFoundError: no slices of consecutive layers cover all layers.
    """
    order = range(len(table.layer_names)) if order is None else order
    chain = is_chain(table, order)

    def find(choice: Weighed, least_count: int = min_slice_count) -> tuple[float, Proposal]:
        if chain:
            return best_on_chain(chain_costs(table, choice, order), least_count)
        return best_along(table, choice, order, least_count)

    if 1 < min_slice_count < len(order):
        free = best_slices(table, weighed, order)  # its bound holds for many slices too
        if len(free.proposal) >= min_slice_count:
            return free
        if min_slice_count > MOST_PASSES:
            rewarded = _many_slices(find, weighed, min_slice_count, free.proposal)
            split, alone = at_least(free.proposal, min_slice_count), find(weighed, len(order))[1]
            fastest = _fastest(table, (rewarded, split, alone), min_slice_count)
            return free._replace(proposal=fastest, others=(rewarded, split, alone))
    groups = _group_devices(table, weighed)
    if not groups:
        cost, proposal = find(weighed)
        return Found(cost, proposal, cost if chain else None)
    cost, proposal = _best_choice(table, weighed, groups, find)
    everything = prod(len(devices) for devices in groups.values()) <= GROUP_CHOICES
    bound = (cost if everything else find(weighed)[0]) if chain else None
    return Found(cost, proposal, bound)


def _fastest(table: CostTable, proposals: Sequence[Proposal], slice_count: int) -> Proposal:
    """Return the fastest of those that can run and have so many slices; else the last."""

    def seconds(proposal: Proposal) -> float:
        try:
            return simulate(table, proposal).seconds if len(proposal) >= slice_count else INF
        except InfeasibleError:
            return INF

    return min(reversed(proposals), key=seconds)


def _many_slices(
    find: Callable[[Weighed, int], tuple[float, Proposal]], weighed: Weighed, slice_count: int, fallback: Proposal
) -> Proposal:
    """Return slices that are many because each is rewarded; the reward is the least that makes enough of them."""
    low, high = 0.0, 2.0 * float(weighed.layer[np.isfinite(weighed.layer)].max(initial=0.0)) + 1e-9
    best = fallback
    for _ in range(REWARD_STEPS):
        reward = high if best is fallback else (low + high) / 2
        segments = {key: cost - reward for key, cost in weighed.segments.items()}
        _, proposal = find(replace(weighed, slice=weighed.slice - reward, segments=segments), 0)
        if len(proposal) >= slice_count:
            best, high = proposal, reward
        elif best is fallback:
            low, high = high, 4.0 * high
        else:
            low = reward
    return best


def _group_devices(table: CostTable, weighed: Weighed) -> dict[int, list[int]]:
    """Return per group the devices that can run all of its layers, likely ones first.

    Raises:
        InfeasibleError: a group that no device can run.
    """
    found: dict[int, list[int]] = {}
    for group in sorted(set(table.rows.group) - {-1}):
        members = np.flatnonzero(table.group == group)
        costs = [
            (float(weighed.layer[members][:, table.state_device == device].min(axis=1).sum()), device)
            for device in range(len(table.device_names))
        ]
        found[group] = [device for cost, device in sorted(costs) if cost < INF]
        if not found[group]:
            names = ", ".join(table.layer_names[layer] for layer in members[:4])
            raise InfeasibleError(f"no device can run every layer of one group: {names}")
    return found


def _best_choice(
    table: CostTable,
    weighed: Weighed,
    groups: dict[int, list[int]],
    find: Callable[[Weighed], tuple[float, Proposal]],
) -> tuple[float, Proposal]:
    """The best slices over devices for the groups: all choices where there are few, else one group moved at a time."""
    tried: dict[tuple[int, ...], tuple[float, Proposal]] = {}

    def attempt(choice: tuple[int, ...]) -> float:
        if choice not in tried:
            try:
                tried[choice] = find(_with_groups_on(table, weighed, dict(zip(groups, choice, strict=True))))
            except InfeasibleError:
                tried[choice] = INF, ()
        return tried[choice][0]

    for choice in _choices(list(groups.values()), attempt):
        attempt(choice)
    cost, proposal = min(tried.values(), key=lambda found: found[0])
    if cost == INF:
        raise NoPlanFoundError("no slices of consecutive layers can run every layer with each group on one device")
    return cost, proposal


def _choices(devices: list[list[int]], attempt: Callable[[tuple[int, ...]], float]) -> Iterator[tuple[int, ...]]:
    """Yield devices for the groups to try."""
    if prod(map(len, devices)) <= GROUP_CHOICES:
        yield from product(*devices)
        return
    best = tuple(options[0] for options in devices)
    yield best
    for number, options in enumerate(devices):
        for device in options[1:]:
            moved = (*best[:number], device, *best[number + 1 :])
            yield moved
            if attempt(moved) < attempt(best):
                best = moved


def _with_groups_on(table: CostTable, weighed: Weighed, device_of: dict[int, int]) -> Weighed:
    """Return the costs with every group's layers only on its device."""
    layer = weighed.layer.copy()
    for group, device in device_of.items():
        layer[np.ix_(table.group == group, table.state_device != device)] = INF
    return replace(weighed, layer=layer)


def ask_chain(table: CostTable, weights: Weights, min_slice_count: int = 0) -> Asked:
    """Return the best slices in list order for some weights as a point; the program's cost is a bound on a chain."""
    found = best_slices(table, weigh(table, weights), min_slice_count=min_slice_count)
    states = np.zeros(len(table.layer_names), dtype=np.int64)
    for layers, state in found.proposal:
        states[list(layers)] = state
    bound = found.cost if found.bound is None else found.bound
    try:
        timeline = simulate(table, found.proposal)
    except InfeasibleError:
        return Asked(weights, bound, None)
    return Asked(weights, bound, Supported(timeline.seconds, timeline.joules or 0.0, states, found.proposal))
