"""Throughput where one device works at a time (two runtimes on the same cores): the plan of the least latency.

The devices that exclude each other have one load together. Where these are all devices, that load is what one request
takes with nothing at once: execution, switches, and each copy at least once. So the plans for latency are those for
throughput, with what was measured of slices as wholes, and their lower bound holds.
"""

from __future__ import annotations

from dataclasses import replace

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.core.request import Answer, Request
from mosaic_onnx.planner.sequential.method import sequential, sequential_fits


def taking_turns(table: CostTable, request: Request) -> Answer:
    """Return plans of the least latency and their bound.

    Raises:
        InfeasibleError: proved: no plan runs every layer, or none keeps the limits.
    """
    return sequential(table, _for_latency(request))


def one_works_at_a_time(table: CostTable, request: Request) -> bool:
    """Return whether ``auto`` runs it: throughput, on several devices of which any two exclude each other."""
    exclude = any(len(group) == len(table.device_names) for group in table.exclusive_groups)
    return request.objective == "throughput" and exclude and sequential_fits(table, _for_latency(request))


def _for_latency(request: Request) -> Request:
    return replace(request, objective="latency", schedule="sequential")
