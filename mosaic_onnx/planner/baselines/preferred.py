"""The device-preferred versions (section VI-A): as much as possible on one device, the rest by fallback."""

from __future__ import annotations

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.planner.baselines.arguments import device_order
from mosaic_onnx.planner.baselines.filling import filled_slices
from mosaic_onnx.planner.baselines.governors import on_demand
from mosaic_onnx.planner.core.request import Answer, Request


def preferred(table: CostTable, request: Request) -> Answer:
    """TF-…-P: ``preferred:DEVICE[,FALLBACK…]`` under the performance governor.

    Raises:
        UsageError: no device is named, or none has that name.
        InfeasibleError: no device can hold a layer.
    """
    return Answer((filled_slices(table, device_order(table, request)),))


def preferred_on_demand(table: CostTable, request: Request) -> Answer:
    """TF-…-O: the same slices at the levels of the on-demand governor.

    Raises:
        UsageError, InfeasibleError: as ``preferred``.
    """
    return Answer((on_demand(table, filled_slices(table, device_order(table, request))),))
