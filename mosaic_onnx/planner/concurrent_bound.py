"""A lower bound of every concurrent plan's makespan: the fastest critical path, or the fractional area."""

from __future__ import annotations

import numpy as np

from mosaic_onnx.costs import CostTable, Floats, Ints
from mosaic_onnx.planner.area import area_bound
from mosaic_onnx.planner.equal_devices import device_classes
from mosaic_onnx.planner.floors import (
    HOST_PLACE,
    arrivals,
    certain_overhead,
    places_of_states,
    possible_states,
    segment_floor,
)
from mosaic_onnx.planner.loads import pieces_of
from mosaic_onnx.planner.weights import LATENCY, Weighed, weigh


def concurrent_bound(table: CostTable, *, quick: bool = False) -> tuple[float, str]:
    """Seconds below which no concurrent plan's makespan can be, and how they were proved; inf where no plan exists.

    Args:
        table: costs.
        quick: settle for a lower area bound of more than two kinds of device.
    """
    if not table.layer_names:
        return 0.0, "no layers"
    weighed = weigh(table, LATENCY)
    path_s = critical_path_s(table, weighed)
    area_s = fractional_area_s(table, weighed, quick=quick)
    return (path_s, "fastest critical path") if path_s >= area_s else (area_s, "fractional area")


def critical_path_s(table: CostTable, weighed: Weighed) -> float:
    """The longest path, each layer in the state that lets it end first; copies count where the device changes.

    The end of a layer in state s is at least its own time in s after the latest of its inputs, each at the least over
    the states of its maker. Where layers share a slice, its tensors are only ready later.
    """
    finish = earliest_ends(table, weighed)
    ends = finish.min(axis=1)
    longest = float(ends.max(initial=0.0))
    for tensor in np.flatnonzero(table.is_output & (table.producer >= 0)).tolist():
        arrived = finish[int(table.producer[tensor])] + table.to_host_s[tensor]
        longest = max(longest, float(arrived.min()))
    return longest * (1 - 1e-12)


def earliest_ends(table: CostTable, weighed: Weighed) -> Floats:
    """[L, S] seconds before which the layer cannot end in that state; inf where it cannot run there."""
    place = places_of_states(table)
    device = table.state_device
    arrival, direct, _ = arrivals(table, weighed)
    overhead = certain_overhead(table, weighed, by_device=True)
    seconds = np.where(possible_states(table), segment_floor(table, weighed), np.inf)
    finish = np.full_like(seconds, np.inf)
    other_device = device[:, None] != device[None, :]
    for layer, read in enumerate(table.layer_inputs):
        by_maker: dict[int, list[int]] = {}
        for tensor in read:
            by_maker.setdefault(int(table.producer[tensor]), []).append(tensor)
        opened = overhead[layer]
        start = np.zeros(len(device)) if max(by_maker, default=-1) >= 0 else opened.copy()
        for maker, tensors in by_maker.items():
            if maker < 0:
                start = np.maximum(start, arrival[tensors].max(axis=0)[place] + opened)
                continue
            # [S maker, S reader] the way of the slowest of these tensors
            ways = np.max([_way(table, arrival, direct, tensor, place) for tensor in tensors], axis=0)
            after = finish[maker][:, None] + np.where(other_device, ways + opened[None, :], 0.0)
            start = np.maximum(start, after.min(axis=0))
        finish[layer] = start + seconds[layer]
    return finish


def _way(table: CostTable, arrival: Floats, direct: Floats | None, tensor: int, place: Ints) -> Floats:
    """[S, S] the least seconds from the end of a tensor's maker to where a reader on another device can start."""
    by_host = table.to_host_s[tensor][:, None] + arrival[tensor][place][None, :]
    both_host = (place[:, None] == HOST_PLACE) & (place[None, :] == HOST_PLACE)
    way: Floats = np.where(both_host, 0.0, by_host)
    if direct is not None:
        straight = direct[tensor][:, place]
        way = np.where(np.isfinite(straight), straight, way)
    return way


def fractional_area_s(table: CostTable, weighed: Weighed, *, quick: bool = False) -> float:
    """The work of all layers, freely divided among the devices."""
    classes = device_classes(table)
    floor = np.where(possible_states(table), segment_floor(table, weighed), np.inf)
    work = np.stack([floor[:, list(one.states)].min(axis=1) for one in classes], axis=1)
    pieces = np.stack([work[list(layers)].sum(axis=0) for layers in pieces_of(table)])
    return area_bound(pieces, [len(one.devices) for one in classes], quick=quick).seconds
