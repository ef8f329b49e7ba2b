"""The paper's "exhaustive" version: unique random plans and the plans of all other versions, the best of them."""

from __future__ import annotations

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.baselines.ablations import hca, hcca
from mosaic_onnx.planner.baselines.arguments import by_speed, count
from mosaic_onnx.planner.baselines.filling import filled_slices
from mosaic_onnx.planner.baselines.governors import on_demand
from mosaic_onnx.planner.baselines.random_plans import draw_plans
from mosaic_onnx.planner.chain.method import interval
from mosaic_onnx.planner.core.request import Answer, Proposal, Request

PAPER_PLAN_COUNT = 1000


def best_of(table: CostTable, request: Request) -> Answer:
    """``best-of:N``: N random plans (default 1,000), every device preferred under both governors, HCA, HCCA, MOSAIC.

    Raises:
        InfeasibleError: a layer runs nowhere.
        UsageError: N is not a whole number from 1 on.
    """
    proposals = list(draw_plans(table, request, count(request, PAPER_PLAN_COUNT)))
    proposals.extend(_preferred_plans(table))
    for method in (hca, hcca, interval):
        proposals.extend(method(table, request).proposals)
    return Answer(tuple(dict.fromkeys(proposals)))


def _preferred_plans(table: CostTable) -> list[Proposal]:
    plans: list[Proposal] = []
    fallback = by_speed(table)
    for device in fallback:
        try:
            slices = filled_slices(table, [device, *(other for other in fallback if other != device)])
        except InfeasibleError:
            continue
        plans.extend((slices, on_demand(table, slices)))
    return plans
