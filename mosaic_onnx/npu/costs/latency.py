"""Analytical latency: the busiest of array, buffer and DRAM, with what cannot overlap before and after it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from mosaic_onnx.npu.costs.tiling import Floats, Ints, Tilings
from mosaic_onnx.npu.costs.traffic import (
    DramTraffic,
    compulsory_bytes,
    first_load,
    last_store,
    store_before_last,
)
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest


@dataclass(frozen=True)
class Transfers:
    """``[M]`` cycles of the DRAM port that do not depend on the array.

    Attributes:
        all: every byte of the layer.
        fill: the first tiles of weights and inputs.
        drain: the last output tile.
        before_drain: the most that is stored while the last tile computes.
    """

    all: Floats
    fill: Floats
    drain: Floats
    before_drain: Floats

    def take(self, index: Ints) -> Transfers:
        """Return the entries at the given places."""
        return Transfers(*(getattr(self, each.name)[index] for each in fields(self)))


def transfers_of(
    nest: LoopNest, hardware: Hardware, tilings: Tilings, traffic: DramTraffic, order: tuple[str, ...]
) -> Transfers:
    """Return the DRAM port's cycles."""
    bandwidth = hardware.dram.bytes_per_cycle
    return Transfers(
        all=traffic.total / bandwidth,
        fill=first_load(nest, hardware, tilings) / bandwidth,
        drain=last_store(nest, hardware, tilings) / bandwidth,
        before_drain=store_before_last(nest, hardware, tilings, order) / bandwidth,
    )


def overlapped_cycles(work: Floats, last_work: Floats, transfers: Transfers) -> Floats:
    """Return ``[M]`` cycles with double buffers: ``max(fill + work + drain, DRAM + last tile not hidden)``.

    Both are lower bounds of the cycle-level simulation: the array must wait for the first tile and its last tile must
    leave; the port must move every byte, and idles while the last tile computes but for the store before it.

    Args:
        work: ``[M]`` cycles of array or buffer, whichever is more, over the layer.
        last_work: ``[M]`` cycles of array or buffer for the last tile.
        transfers: of the DRAM port.
    """
    busy = transfers.fill + work + transfers.drain
    return np.maximum(busy, transfers.all + np.maximum(last_work - transfers.before_drain, 0.0))


def serial_cycles(work: Floats, transfers: Transfers) -> Floats:
    """Return ``[M]`` cycles with single buffers: a tile loads, computes and leaves, and only then the next loads."""
    return transfers.all + work


def fixed_cycles(hardware: Hardware) -> float:
    """Return what every layer pays once: the launch and the DRAM's latency."""
    return hardware.launch_cycles + hardware.dram.latency_cycles


def bound_cycles(nest: LoopNest, hardware: Hardware) -> float:
    """Return a bound that no mapping beats: ``max(⌈MAC / PEs⌉, compulsory bytes / bandwidth)``."""
    computing = -(-nest.macs // hardware.array.mac_count)
    return max(float(computing), compulsory_bytes(nest, hardware) / hardware.dram.bytes_per_cycle)
