"""Analytical latency: the busiest of array, buffer and DRAM, with what cannot overlap.

Every term is a lower bound of the cycle-level simulation (``simulate``), so the analytical figure never exceeds it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from mosaic_onnx.npu.costs.bursts import bursts_of
from mosaic_onnx.npu.costs.phases import later_phase_cycles
from mosaic_onnx.npu.costs.tiling import Floats, Ints, Tilings
from mosaic_onnx.npu.costs.traffic import DramTraffic, compulsory_bytes, first_load, last_store
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest


@dataclass(frozen=True)
class Transfers:
    """``[M]`` cycles of the DRAM port that do not depend on the array.

    Attributes:
        all: every byte of the layer.
        fill: the first tiles of weights and inputs.
        drain: the last output tile.
        second_load: most that the second visit loads, while the first computes; infinite where there is one visit.
        before_drain: most that is stored while the last tile computes.
        burst: least of the loads (and the store beside them) each time that the innermost cut loop begins again.
        burst_count: how often it does.
        residual_burst: least of the load before an output tile's last computation, where a fused addition's operand
            comes with it.
        residual_count: how often that load is one of many.
        block: the loops whose last tile hides the burst; see ``bursts.Bursts``.
        later_phases: least after the first of several phases of input channels; -inf where there are none.
        first_share: least share of the work that the first phase has.
    """

    all: Floats
    fill: Floats
    drain: Floats
    second_load: Floats
    before_drain: Floats
    burst: Floats
    burst_count: Floats
    residual_burst: Floats
    residual_count: Floats
    block: Ints
    later_phases: Floats
    first_share: Floats

    def take(self, index: Ints) -> Transfers:
        """Return the entries at the given places."""
        return Transfers(*(getattr(self, each.name)[index] for each in fields(self)))


@dataclass(frozen=True)
class Work:
    """``[M]`` cycles of array or buffer, whichever is more.

    Attributes:
        all: over the layer.
        first: for the first and largest tile.
        last: for the last and smallest tile.
        first_array: of the array alone, for the first tile.
        each_buffer: of the buffer alone, for every tile.
        shrinks: of the array's cycles where a loop stands at its last tile, a factor for each loop of ``TILED``.
    """

    all: Floats
    first: Floats
    last: Floats
    first_array: Floats
    each_buffer: Floats
    shrinks: tuple[Floats, ...]


def transfers_of(
    nest: LoopNest, hardware: Hardware, tilings: Tilings, traffic: DramTraffic, order: tuple[str, ...]
) -> Transfers:
    """Return the DRAM port's cycles, transfers rounded up to whole bursts.

    Of many transfers of about one size, the least is rounded up for all: a lower bound, and close where it matters.
    """
    bursts, whole = bursts_of(nest, hardware, tilings, order), hardware.dram.burst_bytes

    def cycles(moved: Floats) -> Floats:
        return np.asarray(np.ceil(moved / whole) * (whole / hardware.dram.bytes_per_cycle))

    loads = np.maximum(traffic.loads / hardware.dram.bytes_per_cycle, bursts.visits * cycles(bursts.each_load))
    stores = np.maximum(traffic.outputs / hardware.dram.bytes_per_cycle, bursts.stores * cycles(bursts.each_store))
    return Transfers(
        all=loads + stores,
        fill=cycles(first_load(nest, hardware, tilings)),
        drain=cycles(last_store(nest, hardware, tilings)),
        second_load=cycles(bursts.second_load),
        before_drain=cycles(bursts.before_drain),
        burst=cycles(bursts.burst),
        burst_count=bursts.count,
        residual_burst=cycles(bursts.residual_burst),
        residual_count=bursts.residual_count,
        block=bursts.block,
        later_phases=later_phase_cycles(nest, hardware, tilings, traffic, order, cycles),
        first_share=1.0 / tilings.trips("C"),
    )


def overlapped_cycles(work: Work, transfers: Transfers) -> Floats:
    """Return ``[M]`` cycles with double buffers: the busier of array and DRAM port, and what neither can hide.

    The array waits for the first tile, and its last tile must leave. It waits again where an inner loop begins anew and
    more must be loaded at once than the tile before it takes to compute: only one tile is loaded ahead; likewise before
    the last visit of an output tile to which something is added. The port moves every byte; it idles while the first
    tile computes and the second is there, and while the last tile computes. Where phases differ (``phases``), the first
    one's work and the later ones' bytes add up.
    """
    before = work.first_array
    for place, shrink in enumerate(work.shrinks):
        before = np.where(transfers.block >> place & 1, before * shrink, before)
    before = np.maximum(before, work.each_buffer)
    stalls = transfers.burst_count * np.maximum(transfers.burst - before, 0.0)
    stalls = stalls + transfers.residual_count * np.maximum(transfers.residual_burst - work.first, 0.0)
    first_phase = transfers.fill + work.all * transfers.first_share - work.first
    phased = first_phase + transfers.later_phases + work.last
    array = transfers.fill + work.all + stalls + transfers.drain
    idle = np.maximum(work.first - transfers.second_load, 0.0) + np.maximum(work.last - transfers.before_drain, 0.0)
    return np.asarray(np.maximum(np.maximum(array, transfers.all + idle), phased))


def serial_cycles(work: Work, transfers: Transfers) -> Floats:
    """Return ``[M]`` cycles with single buffers: a tile loads, computes and leaves, and only then the next loads.

    That is at least what double buffers take; said here because rounding to bursts is only bounded in ``all``.
    """
    return np.asarray(np.maximum(transfers.all + work.all, overlapped_cycles(work, transfers)))


def fixed_cycles(hardware: Hardware) -> float:
    """Return what every layer pays once: the launch and the DRAM's latency."""
    return hardware.launch_cycles + hardware.dram.latency_cycles


def bound_cycles(nest: LoopNest, hardware: Hardware) -> float:
    """Return a bound that no mapping beats: ``max(⌈MAC / PEs⌉, compulsory bytes / bandwidth)``."""
    computing = -(-nest.macs // hardware.array.mac_count)
    return max(float(computing), compulsory_bytes(nest, hardware) / hardware.dram.bytes_per_cycle)
