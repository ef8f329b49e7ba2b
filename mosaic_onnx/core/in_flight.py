"""The number of requests that a plan for throughput has under way at once, and the interval that they allow."""

from __future__ import annotations

import math
from dataclasses import replace

from mosaic_onnx.core.plans import Plan

MOST_SLOTS = 16
"""Requests under way at once on one route, at most: each holds buffers for its tensors."""
DEADLINE_KEY = "deadline_s"
"""Of a plan's constraints: for throughput, what a request may take once it is under way."""
_TINY = 1e-9


def slots_needed(plan: Plan) -> int:
    """Return the number of requests under way at once on each of a plan's routes.

    By Little's law, latency over interval keeps the busiest device at work; one more covers what the runtime adds
    between slices. A deadline allows fewer: so many requests on a route leave it after as many intervals.
    """
    interval_s = _route_interval_s(plan)
    if interval_s <= 0:
        return 2
    needed = min(MOST_SLOTS, math.ceil(plan.predicted.seconds / interval_s - _TINY) + 1)
    deadline_s = plan.constraints.get(DEADLINE_KEY)
    if plan.objective != "throughput" or not isinstance(deadline_s, int | float):
        return needed
    return max(1, min(needed, math.floor(deadline_s / interval_s + _TINY)))


def with_admitted_interval(plan: Plan) -> Plan:
    """Return the plan with the interval of as many requests as may be under way.

    Fewer than the busiest device needs leave it idle between them: the interval is then their latency over their
    number.
    """
    predicted = plan.predicted
    least_s = predicted.seconds / slots_needed(plan) / (1 + len(plan.replicas))
    if plan.objective != "throughput" or least_s <= predicted.interval_seconds:
        return plan
    gap = least_s / plan.bound.value - 1 if plan.bound is not None and plan.bound.value > 0 else None
    return replace(plan, predicted=replace(predicted, interval_seconds=least_s), gap=gap)


def _route_interval_s(plan: Plan) -> float:
    return plan.predicted.interval_seconds * (1 + len(plan.replicas))
