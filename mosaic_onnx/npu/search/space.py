"""The mapping space of one layer on one hardware, as arrays: what does not depend on the array is computed once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.npu.costs.latency import Transfers, transfers_of
from mosaic_onnx.npu.costs.mapping import ORDERS, Spatial, Stationary
from mosaic_onnx.npu.costs.on_chip import allowed_stationary
from mosaic_onnx.npu.costs.tiling import Floats, Ints, Tilings, candidate_tilings
from mosaic_onnx.npu.costs.traffic import dram_traffic, fits, footprint
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest
from mosaic_onnx.npu.search.spatial import spatial_choices

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Restriction:
    """The choices that a fixed dataflow leaves open; None leaves everything.

    Attributes:
        name: the dataflow's.
        spatials: its unrollings.
        stationary: its stationary operands.
        orders: its orders of the tile loops.
    """

    name: str = "best"
    spatials: tuple[Spatial, ...] | None = None
    stationary: tuple[Stationary, ...] | None = None
    orders: tuple[tuple[str, ...], ...] | None = None


@dataclass(frozen=True)
class Points:
    """``L`` choices of tiles, tile order and buffering that fit the buffer, whatever the array does.

    Attributes:
        tiling: ``[L]`` index into the space's tilings.
        order: ``[L]`` index into the space's orders.
        double_buffered: ``[L]``.
        transfers: ``[L]`` cycles of the DRAM port.
        dram_bytes: ``[L]``.
    """

    tiling: Ints
    order: Ints
    double_buffered: np.ndarray[tuple[int], np.dtype[np.bool_]]
    transfers: Transfers
    dram_bytes: Floats

    def take(self, index: Ints) -> Points:
        """Return the points at the given places."""
        return Points(
            self.tiling[index],
            self.order[index],
            self.double_buffered[index],
            self.transfers.take(index),
            self.dram_bytes[index],
        )


@dataclass(frozen=True)
class Space:
    """All mappings of a nest on a hardware: ``points`` times ``spatials`` times ``stationary``.

    Attributes:
        nest: the layer.
        hardware: the NPU.
        tilings: ``M`` candidate tilings, whether they fit or not.
        points: what is worth combining with the array's choices.
        orders: of the tile loops.
        spatials: unrollings.
        stationary: operands that the register files can keep.
        left_out: (tiling, order, buffering) triples that no answer needs, by reason.
    """

    nest: LoopNest
    hardware: Hardware
    tilings: Tilings
    points: Points
    orders: tuple[tuple[str, ...], ...]
    spatials: tuple[Spatial, ...]
    stationary: tuple[Stationary, ...]
    left_out: dict[str, int]

    @property
    def array_choice_count(self) -> int:
        """Unrollings times stationary operands."""
        return len(self.spatials) * len(self.stationary)


def space_of(nest: LoopNest, hardware: Hardware, restriction: Restriction | None = None) -> Space:
    """Return the space of a nest, or the part of it that a fixed dataflow leaves.

    Two kinds of points are left out because another is no worse in latency and energy: single buffers where double
    buffers fit, and an order that moves at least as many bytes as another, no more evenly.

    Raises:
        InfeasibleError: not even the smallest tile fits the buffer.
    """
    fixed = restriction or Restriction()
    orders = fixed.orders or ORDERS
    tilings = candidate_tilings(nest)
    modes = {"optional": (True, False), "always": (True,), "never": (False,)}[hardware.buffer.double_buffering]
    taken = footprint(nest, hardware, tilings)
    fitting = {mode: fits(hardware.buffer, taken, double_buffered=mode) for mode in modes}
    if not any(mask.any() for mask in fitting.values()):
        least = int((taken.weights + taken.inputs + taken.outputs).min())
        raise InfeasibleError(
            f"{nest.name}: the smallest tile (one output of one channel) takes {least} bytes, more than "
            f"{hardware.name}'s buffer can hold",
            "give the layer to another device, or the NPU a larger buffer",
        )
    chosen = dict(fitting)
    if len(modes) == 2:
        chosen[False] = fitting[False] & ~fitting[True]
    points = [
        _undominated(nest, hardware, tilings, orders, mode, np.flatnonzero(mask).astype(np.int64))
        for mode, mask in chosen.items()
    ]
    every = _joined(points)
    unfit = sum(int((~mask).sum()) for mask in fitting.values())
    overlapped = int((fitting[False] & fitting[True]).sum()) if len(modes) == 2 else 0
    kept = sum(int(mask.sum()) for mask in chosen.values())
    left_out = {
        "capacity": unfit * len(orders),
        "single_buffers": overlapped * len(orders),
        "order": kept * len(orders) - len(every.tiling),
    }
    spatials = fixed.spatials or spatial_choices(nest, hardware.array)
    stationary = fixed.stationary or allowed_stationary(nest, hardware)
    return Space(nest, hardware, tilings, every, orders, spatials, stationary, left_out)


def _undominated(
    nest: LoopNest,
    hardware: Hardware,
    tilings: Tilings,
    orders: tuple[tuple[str, ...], ...],
    mode: bool,
    index: Ints,
) -> Points:
    """Return the points of some tilings, without orders that another equals or beats in bytes and in evenness."""
    some = tilings.take(index)
    parts = [(dram_traffic(nest, hardware, some, order), order) for order in orders]
    moved = [transfers_of(nest, hardware, some, traffic, order) for traffic, order in parts]
    total = np.stack([traffic.total for traffic, _ in parts])
    better = [np.stack([each.before_drain for each in moved]), np.stack([each.second_load for each in moved])]
    names = ("all", "burst", "burst_count", "residual_burst", "residual_count", "later_phases")
    worse = [total, *(np.stack([getattr(each, name) for each in moved]) for name in names)]
    block = np.stack([each.block for each in moved])  # decides which computation hides a burst
    keep = np.ones(total.shape, dtype=bool)
    for one in range(len(orders)):
        for other in range(len(orders)):
            if one != other:
                no_worse, equal = _compared(worse, better, one, other)
                no_worse &= (block[one] == block[other]) | (moved[other].burst_count == 0)
                keep[one] &= ~(no_worse & (~equal | (other < one)))
    kept = [np.flatnonzero(row).astype(np.int64) for row in keep]
    return _joined(
        [
            Points(index[at], np.full(len(at), place), np.full(len(at), mode), moved[place].take(at), total[place][at])
            for place, at in enumerate(kept)
        ]
    )


def _compared(worse: list[Floats], better: list[Floats], one: int, other: int) -> tuple[Mask, Mask]:
    """Return ``[M]`` whether another order is no worse in every figure, and whether it is equal in all."""
    no_worse = np.logical_and.reduce(
        [figure[other] <= figure[one] for figure in worse] + [figure[other] >= figure[one] for figure in better]
    )
    equal = np.logical_and.reduce([figure[other] == figure[one] for figure in (*worse, *better)])
    return no_worse, equal


def _joined(parts: list[Points]) -> Points:
    moved = [part.transfers for part in parts]
    return Points(
        np.concatenate([part.tiling for part in parts]),
        np.concatenate([part.order for part in parts]),
        np.concatenate([part.double_buffered for part in parts]),
        Transfers(*(np.concatenate([getattr(each, one.name) for each in moved]) for one in fields(Transfers))),
        np.concatenate([part.dram_bytes for part in parts]),
    )
