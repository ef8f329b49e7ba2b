"""The paper's arithmetic on chains of layers, as arrays: a calibration evaluates Equations 8 and 9 very often.

All reported figures are the simulator's; a test compares these arrays with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Floats

INF = float("inf")


@dataclass(frozen=True)
class ChainCosts:
    """Costs of one workload, seconds or joules; every boundary between layers is one tensor.

    Attributes:
        layer: [L, S] execution; inf where the state cannot run the layer.
        copy_in: [L, S] transfer of the layer's input to the device (Equation 1).
        copy_out: [L, S] transfer of the layer's output from the device (Equation 2).
        fits: [L, L, S] a slice from the first index to the second keeps the state's cap and is supported.
    """

    layer: Floats
    copy_in: Floats
    copy_out: Floats
    fits: np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]

    def slices(self) -> Floats:
        """Return [L, L, S] C_{m,n,δ} of Equation 8; inf where δ cannot execute the slice."""
        layer_count, state_count = self.layer.shape
        usable = np.where(np.isfinite(self.layer), self.layer, 0.0)
        total = np.vstack([np.zeros(state_count), np.cumsum(usable, axis=0)])
        costs = total[None, 1:] - total[:layer_count, None] + self.copy_in[:, None] + self.copy_out[None]
        return np.where(self.fits, costs, INF)


def least_total(slices: Floats) -> float:
    """Return the value of Equation 9."""
    cheapest = slices.min(axis=2)
    total = np.zeros(len(slices) + 1)
    for end in range(1, len(slices) + 1):
        total[end] = (total[:end] + cheapest[:end, end - 1]).min()
    return float(total[-1])


def reductions(ours: Floats, theirs: Floats) -> Floats:
    """Return [V] the percentages by which the geometric mean of ``ours`` [W] is below those of ``theirs`` [W, V]."""
    return np.asarray(100.0 * (1.0 - np.exp(np.log(ours[:, None] / theirs).mean(axis=0))))


def total_of(slices: Floats, plan: Sequence[tuple[int, int, int]]) -> float:
    """Return the sum of a plan's slices."""
    return float(sum(slices[piece] for piece in plan))
