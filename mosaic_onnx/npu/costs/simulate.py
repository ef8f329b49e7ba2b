"""Cycle-level simulation of a mapping: tile after tile, two buffers an operand, one DRAM port for loads and stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np

from mosaic_onnx.npu.costs.latency import fixed_cycles
from mosaic_onnx.npu.costs.mapping import Mapping
from mosaic_onnx.npu.costs.on_chip import buffer_bytes, factors_of, steps_of
from mosaic_onnx.npu.costs.tile_visits import Visits, visits_of
from mosaic_onnx.npu.costs.tiling import tilings_of, visit_count
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest

LONGEST = 4_000_000
"""Tiles that are simulated one by one; what a layer has more is taken to run at the same rate, and that is said."""


@dataclass(frozen=True)
class TileEvent:
    """Times of one tile, in cycles since the layer's start; a tile that stores nothing has ``store_end`` = its end."""

    load_start: float
    load_end: float
    compute_start: float
    compute_end: float
    store_end: float


@dataclass(frozen=True)
class Simulation:
    """A simulated layer.

    Attributes:
        cycles: launch and DRAM latency included.
        tile_count: tiles simulated.
        dram_bytes: moved by all tiles, before rounding up to bursts.
        is_extrapolated: there were too many tiles; the rest was taken to run at the rate of those simulated.
    """

    cycles: float
    tile_count: int
    dram_bytes: float
    is_extrapolated: bool = False


def simulate(nest: LoopNest, hardware: Hardware, mapping: Mapping) -> Simulation:
    """Simulate a layer.

    ``load_end[i] = max(port, compute_end[i-2]) + load[i]``,
    ``compute_end[i] = max(load_end[i], compute_end[i-1], store_end[i-2]) + compute[i]``,
    ``store_end[i] = max(port, compute_end[i]) + store[i]``. Loads and stores share the port, which serves the load of
    tile i+1 before the store of tile i. Every transfer is rounded up to whole bursts. With single buffers each tile
    loads, computes and leaves before the next begins.

    Args:
        nest: the layer.
        hardware: the NPU.
        mapping: tiles that fit its buffer.
    """
    visits = visits_of(nest, hardware, mapping)
    total = nest.repeats * len(visits.load_bytes)
    start = fixed_cycles(hardware)
    end, count = start, 0
    for event in _events(nest, hardware, mapping, visits, start):
        end = max(end, event[4])
        count += 1
        if count >= LONGEST:
            break
    if count < total:
        end = start + (end - start) * total / count
    moved = nest.repeats * float(visits.load_bytes.sum() + visits.store_bytes.sum())
    return Simulation(end, count, moved, is_extrapolated=count < total)


def timeline(nest: LoopNest, hardware: Hardware, mapping: Mapping, tile_count: int) -> tuple[TileEvent, ...]:
    """Return what the first tiles of a layer do."""
    visits = visits_of(nest, hardware, mapping)
    events = _events(nest, hardware, mapping, visits, fixed_cycles(hardware))
    return tuple(TileEvent(*event) for event, _ in zip(events, range(tile_count), strict=False))


Event = tuple[float, float, float, float, float]


def _events(nest: LoopNest, hardware: Hardware, mapping: Mapping, visits: Visits, start: float) -> Iterator[Event]:
    """Return the start and end of load and computation, and the end of the store, of tile after tile."""
    rate, burst = hardware.dram.bytes_per_cycle, hardware.dram.burst_bytes
    loads = (np.ceil(visits.load_bytes / burst) * (burst / rate)).tolist()
    stores = (np.ceil(visits.store_bytes / burst) * (burst / rate)).tolist()
    computes = np.maximum(visits.array_cycles, _buffer_cycles_a_tile(nest, hardware, mapping)).tolist()
    tiles = chain.from_iterable(repeat(list(zip(loads, computes, stores, strict=True)), nest.repeats))
    return _overlapped(tiles, start) if mapping.double_buffered else _serial(tiles, start)


Tile = tuple[float, float, float]
"""Cycles to load, to compute and to store."""


def _serial(tiles: Iterable[Tile], start: float) -> Iterator[Event]:
    """Return the events with single buffers."""
    now = start
    for load, compute, store in tiles:
        loaded = now + load
        computed = loaded + compute
        yield now, loaded, loaded, computed, computed + store
        now = computed + store


def _overlapped(tiles: Iterable[Tile], start: float) -> Iterator[Event]:
    """Return the events with double buffers; each is known when the load of the tile after it has had the port."""
    port = before = last = start
    stored_before = stored = start
    held: tuple[float, float, float, float, float] | None = None  # the tile whose store waits for the port
    for load, compute, store in tiles:
        load_start = max(port, before)  # the buffer is free when the tile before last is computed
        load_end = load_start + load
        port = load_end if load else port
        if held is not None:
            if held[4]:
                port = max(port, held[3]) + held[4]
            stored_before, stored = stored, max(port, held[3]) if held[4] else held[3]
            yield (*held[:4], stored)
        compute_start = max(load_end, last, stored_before)
        before, last = last, compute_start + compute
        held = (load_start, load_end, compute_start, last, store)
    if held is not None:
        yield (*held[:4], max(port, held[3]) + held[4] if held[4] else held[3])


def _buffer_cycles_a_tile(nest: LoopNest, hardware: Hardware, mapping: Mapping) -> float:
    """Return the cycles between buffer and array, spread evenly over the tiles."""
    tilings, factors = tilings_of(nest, mapping.tiles), factors_of(mapping.spatial)
    steps = steps_of(nest, tilings, factors)
    moved = buffer_bytes(nest, hardware, tilings, steps, factors, mapping.stationary)
    return float((moved / visit_count(nest, tilings))[0]) / hardware.buffer.bytes_per_cycle
