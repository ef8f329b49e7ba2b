"""Layers whose input channels are the outermost tile loop: their first phase moves fewer bytes than the later ones.

In the first phase sums start at zero; in each later one they come back, and leave again. So the first may wait for the
array while the later ones wait for DRAM, and the layer takes longer than the larger of both sums.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mosaic_onnx.npu.costs.tiling import Floats, Tilings
from mosaic_onnx.npu.costs.traffic import DramTraffic
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest


def later_phase_cycles(
    nest: LoopNest,
    hardware: Hardware,
    tilings: Tilings,
    traffic: DramTraffic,
    order: tuple[str, ...],
    cycles: Callable[[Floats], Floats],
) -> Floats:
    """Return ``[M]`` cycles of DRAM for the later phases at least; -inf where there are no phases.

    When the computation before the last one of the first phase has ended, the port has yet to move what the later
    phases load and store, and the sums of the first phase's last visit. All of it but the store before the last comes
    before the last computation ends, or after it.

    Args:
        nest: the layer.
        hardware: the NPU.
        tilings: ``M`` tilings.
        traffic: of the layer.
        order: of the tile loops.
        cycles: of the port for bytes, rounded up to whole bursts.
    """
    size, rate = hardware.precision, hardware.dram.bytes_per_cycle
    is_phased = (tilings.trips("C") > 1) & (nest.repeats == 1)
    for loop in order[: order.index("C")]:
        is_phased = is_phased & (tilings.trips(loop) == 1)
    share = 1.0 - tilings.tile("C") / nest.C
    stores = traffic.outputs - float(nest.output_elements * size.partial_sum_bytes)
    later = (traffic.weights + traffic.inputs) * share + traffic.partial_sums + traffic.residual + stores
    largest, least = np.ones(later.shape), np.ones(later.shape)
    for loop in ("N", "K", "P", "Q"):
        largest, least = largest * tilings.tile(loop), least * tilings.least(loop)
    store = cycles(largest * max(size.partial_sum_bytes, size.activation_bytes))
    return np.where(is_phased, later / rate + least * (size.partial_sum_bytes / rate) - store, -np.inf)
