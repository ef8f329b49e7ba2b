"""A lower bound of every concurrent plan's makespan: the fastest critical path, or the fractional area."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Bools, CostTable, Floats, Ints
from mosaic_onnx.planner.core.deadline import FOREVER, TimeUpError, timed
from mosaic_onnx.planner.core.lower_bounds import possible_states, segment_floor
from mosaic_onnx.planner.core.objective_weights import LATENCY, Weighed, weigh
from mosaic_onnx.planner.throughput.area_bound import fractional_area


def concurrent_bound(table: CostTable, *, quick: bool = False, until: float = FOREVER) -> tuple[float, str]:
    """Return a lower bound of every concurrent plan's makespan, and how it was proved; inf where no plan exists.

    Args:
        table: costs.
        quick: settle for a lower area bound of more than two kinds of device.
        until: ``time.monotonic()`` up to which layers are put on the critical path.
    """
    if not table.layer_names:
        return 0.0, "no layers"
    weighed = weigh(table, LATENCY)
    area_s, path_s = fractional_area(table, quick=quick), critical_path_s(table, weighed, until)
    return (path_s, "fastest critical path") if path_s >= area_s else (area_s, "fractional area")


def critical_path_s(table: CostTable, weighed: Weighed, until: float = FOREVER) -> float:
    """Return the longest path, each layer in the state that lets it end first; copies count where the device changes.

    The end of a layer in state s is at least its own time in s after the latest of its inputs, each at the least over
    the states of its maker. Where layers share a slice, its tensors are only ready later.
    """
    finish = np.full(table.layer_s.shape, np.nan)
    with suppress(TimeUpError):
        _fill_ends(table, weighed, finish, until)
        if not np.isfinite(finish.min(axis=1, initial=np.inf)).all():
            return float("inf")
    done = ~np.isnan(finish).any(axis=1)
    longest = float(finish[done].min(axis=1).max(initial=0.0))
    for tensor in np.flatnonzero(table.is_output & (table.producer >= 0) & done[table.producer]).tolist():
        arrived = finish[int(table.producer[tensor])] + table.to_host_s[tensor]
        longest = max(longest, float(arrived.min()))
    return longest * (1 - 1e-12)


def earliest_ends(table: CostTable, weighed: Weighed) -> Floats:
    """Return [L, S] seconds before which the layer cannot end in that state; inf where it cannot run there."""
    finish = np.full(table.layer_s.shape, np.inf)
    _fill_ends(table, weighed, finish, FOREVER)
    return finish


def _fill_ends(table: CostTable, weighed: Weighed, finish: Floats, until: float) -> None:
    """Write down [L, S] earliest ends, layer by layer; ``TimeUpError`` is raised after ``until``."""
    device = table.state_device
    ways = _Ways(table)
    opened = _certain_slice_s(table)
    seconds = np.where(possible_states(table), segment_floor(table, weighed), np.inf)
    other_device = device[:, None] != device[None, :]
    for layer, read in enumerate(timed(table.layer_inputs, until)):
        by_maker: dict[int, list[int]] = {}
        for tensor in read:
            by_maker.setdefault(int(table.producer[tensor]), []).append(tensor)
        start = np.zeros(len(device)) if max(by_maker, default=-1) >= 0 else opened[layer].copy()
        for maker, tensors in by_maker.items():
            if maker < 0:
                start = np.maximum(start, ways.from_host[tensors].max(axis=0) + opened[layer])
                continue
            # [S maker, S reader] the way of the slowest of these tensors
            slowest = np.max([ways.between(tensor) for tensor in tensors], axis=0)
            after = finish[maker][:, None] + np.where(other_device, slowest + opened[layer][None, :], 0.0)
            start = np.maximum(start, after.min(axis=0))
        finish[layer] = start + seconds[layer]


def _certain_slice_s(table: CostTable) -> Floats:
    """[L, S] what any slice with this layer on this device pays for being one: nothing where a segment may hold it."""
    opened: Floats = np.repeat(table.slice_s[table.state_device][None, :], len(table.layer_names), axis=0)
    for first, last, state in table.segments:
        opened[first : last + 1, table.state_device == table.state_device[state]] = 0.0
    return opened


class _Ways:
    """The least seconds that tensors take, whichever level of a device is the first to read them there."""

    def __init__(self, table: CostTable) -> None:
        self.table = table
        self.shared = ~table.own_memory[table.state_device]
        """[S] works in host's memory"""
        self.from_host = table.from_host_s.copy()
        """[T, S] from host, at the device's cheapest level"""
        self.columns: dict[int, Ints] = {}
        """device -> its states"""
        for device in range(len(table.device_names)):
            self.columns[device] = np.flatnonzero(table.state_device == device)
            levels = self.columns[device]
            self.from_host[:, levels] = table.from_host_s[:, levels].min(axis=1, keepdims=True)
        self.direct = self._direct()

    def between(self, tensor: int) -> Floats:
        """Return [S, S] from the end of its maker in one state to where a reader in another can start."""
        by_host = self.table.to_host_s[tensor][:, None] + self.from_host[tensor][None, :]
        way: Floats = np.where(self.shared[:, None] & self.shared[None, :], 0.0, by_host)
        for (source, device), (seconds, always) in self.direct.items():
            levels = self.columns[device]
            straight = float(seconds[tensor])
            way[source, levels] = straight if always[tensor] else np.minimum(way[source, levels], straight)
        return way

    def _direct(self) -> dict[tuple[int, int], tuple[Floats, Bools]]:
        """Return (state, device) -> [T] least seconds of a direct copy there, whether it is the way to every level."""
        found: dict[tuple[int, int], list[Floats]] = {}
        for (source, target), seconds in self.table.direct_s.items():
            found.setdefault((source, int(self.table.state_device[target])), []).append(seconds)
        return {
            (source, device): (
                np.min(rows, axis=0),
                np.asarray(np.isfinite(rows).all(axis=0) & (len(rows) == len(self.columns[device]))),
            )
            for (source, device), rows in found.items()
        }
