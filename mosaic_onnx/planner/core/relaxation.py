"""The table as most methods see it: without what only the simulator, the whole search and ``refine`` know.

What is left out only forbids plans or makes them dearer, so a bound of the relaxed table holds for the table, a proof
that the relaxed one has no plan is a proof for the table, and what a method proposes is judged on the table itself.
"""

from __future__ import annotations

from dataclasses import replace

from mosaic_onnx.core.cost_tables.costs import CostTable


def relaxed(table: CostTable) -> CostTable:
    """Return the table without limits on slices, what switches cost more before some layers, shared links, slow-downs.

    The same object where it has none of these.
    """
    if table.max_slice_count is None and not table.layer_switches and not table.link_names and not table.slowdown:
        return table
    return replace(table, max_slice_count=None, layer_switches={}, link_names=(), link_of={}, slowdown=None)
