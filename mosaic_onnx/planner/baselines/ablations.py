"""MOSAIC with parts left out (section VI-D): blind to communication, blind to levels. The simulator sees all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.baselines.arguments import highest_states
from mosaic_onnx.planner.baselines.random_plans import fits
from mosaic_onnx.planner.chain.method import interval
from mosaic_onnx.planner.core.request import Answer, Proposal, Request
from mosaic_onnx.planner.search.merging import neighbours_joined


def hca(table: CostTable, request: Request) -> Answer:
    """Heterogeneity- and constraint-aware only: plans as if copies were free and every device had one level."""
    proposals = interval(without_levels(without_copies(table)), request).proposals
    return Answer(tuple(joined(table, proposal) for proposal in proposals))


def hcca(table: CostTable, request: Request) -> Answer:
    """Return the same aware of communication, blind to levels: every device at its highest."""
    return Answer(interval(without_levels(table), request).proposals)


def joined(table: CostTable, proposal: Proposal) -> Proposal:
    """Return the same with neighbouring slices of one state made one, as far as the cap allows.

    A plan that thinks copies free is indifferent to such cuts; it would be unfair to charge it for them.
    """
    return neighbours_joined(proposal, lambda grown: fits(table, grown))


def without_copies(table: CostTable) -> CostTable:
    """Return the table as it would be if moving tensors cost nothing."""
    nothing = np.zeros_like(table.to_host_s)
    return replace(
        table,
        to_host_s=nothing,
        to_host_j=nothing,
        from_host_s=nothing,
        from_host_j=nothing,
        direct_s={pair: np.zeros_like(line) for pair, line in table.direct_s.items()},
        direct_j={pair: np.zeros_like(line) for pair, line in table.direct_j.items()},
    )


def without_levels(table: CostTable) -> CostTable:
    """Return the table as it would be if every device had its highest level only (equation 6's D)."""
    lower = np.ones(len(table.state_names), dtype=np.bool_)
    lower[highest_states(table)] = False
    joules = None if table.layer_j is None else np.where(lower, np.inf, table.layer_j)
    return replace(table, layer_s=np.where(lower, np.inf, table.layer_s), layer_j=joules)
