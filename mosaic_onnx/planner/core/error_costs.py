"""Errors of layers in the place of joules: then a budget of joules is a budget of errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable

INF = float("inf")


def errors_as_joules(table: CostTable) -> CostTable:
    """Return the table with errors in the place of joules: then a budget of joules is one of errors."""
    errors = np.zeros_like(table.layer_s) if table.layer_error is None else table.layer_error
    return replace(
        table,
        layer_j=np.where(np.isfinite(table.layer_s), errors, INF),
        slice_j=np.zeros_like(table.slice_j),
        idle_w=np.zeros_like(table.idle_w),
        to_host_j=np.zeros_like(table.to_host_j),
        from_host_j=np.zeros_like(table.from_host_j),
        direct_j={pair: np.zeros_like(joules) for pair, joules in table.direct_j.items()},
        switch_j=np.zeros_like(table.switch_j),
        segments={key: (seconds, None) for key, (seconds, _) in table.segments.items()},
    )
