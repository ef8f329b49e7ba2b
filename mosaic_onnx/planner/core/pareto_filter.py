"""Fronts of two costs: which points no other point beats."""

from __future__ import annotations

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Floats, Ints

ROUNDING = 1e-12
"""Relative: a gain as small as this is rounding."""


def front_indices(points: Floats) -> Ints:
    """Return indices of the points [N, 2] that no other beats in both, by rising first cost; equal ones once."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    second = points[order, 1]
    least = np.minimum.accumulate(second)
    kept = np.ones(len(order), dtype=np.bool_)
    kept[1:] = second[1:] < least[:-1] - ROUNDING * np.abs(least[:-1])
    return np.asarray(order[kept])
