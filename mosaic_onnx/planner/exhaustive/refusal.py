"""The reason why a small table has no plan: the limit, demand or cap that binds, and what would be enough."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Objective
from mosaic_onnx.core.text.quantities import bytes_text, joules_text, seconds_text
from mosaic_onnx.planner.core.error_costs import errors_as_joules
from mosaic_onnx.planner.core.infeasibility import check_limits
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.core.request_constraints import error_sum
from mosaic_onnx.planner.core.simulate import simulate, value
from mosaic_onnx.planner.exhaustive.errors import TooLargeError
from mosaic_onnx.planner.exhaustive.search import Effort, Search
from mosaic_onnx.planner.search.initial_solutions import one_state_plans

TRANSITIONS = 500_000
"""Number of slices appended to partial plans to explain one refusal."""
EXPLAINED_S = 2.0
"""The limit of one search for an explanation."""
BEAM = 12
"""Width of the search that comes first, for a good plan to prune with."""


def refusal(table: CostTable, request: Request) -> InfeasibleError:
    """Return the error that says why no plan satisfies a request, as far as that can be found out in a moment."""
    try:
        _check(table, request)
    except InfeasibleError as error:
        return error
    except TooLargeError:
        pass
    asked = ", ".join(_asked(table, request)) or "every layer"
    return InfeasibleError(f"no plan satisfies what is asked together: {asked}; all plans were looked at")


def _asked(table: CostTable, request: Request) -> Iterator[str]:
    """Yield what may be in the way, in words."""
    if request.deadline_s is not None:
        yield f"the deadline of {seconds_text(request.deadline_s)}"
    if request.budget_j is not None:
        yield f"the budget of {joules_text(request.budget_j)}"
    if request.max_error is not None:
        yield f"the error budget of {request.max_error:.3g}"
    caps = np.isfinite(np.minimum(table.memory_bytes, table.slice_memory_bytes))
    if caps.any():
        yield f"the memory of {', '.join(np.array(table.device_names)[caps])}"
    if (table.group >= 0).any():
        yield "groups on one device each"
    if request.one_slice_per_device:
        yield "one slice a device"
    if request.min_slice_count > 1:
        yield f"at least {request.min_slice_count} slices"


def _check(table: CostTable, request: Request) -> None:
    """Raise the error that fits.

    Raises:
        InfeasibleError: naming what binds.
        TooLargeError: that would take too long.
    """
    free = replace(request, deadline_s=None, budget_j=None, max_error=None)
    least_s = _least(table, free, "latency")
    if least_s is None:
        _check_demands(table, free)
        _check_caps(table, free)
        return
    least_j = _least(table, free, "energy") if request.budget_j is not None else None
    in_budget = _least(table, replace(free, budget_j=request.budget_j), "latency") if request.budget_j else None
    check_limits(request, least_s, least_j, in_budget)
    if request.max_error is not None:
        _check_error(table, request)


def _least(table: CostTable, request: Request, objective: Objective) -> float | None:
    """Return the optimum of another objective; None where there is no plan."""
    asked = replace(request, objective=objective, pareto=False)
    search = Search(table, asked, Effort(TRANSITIONS, time.monotonic() + EXPLAINED_S))
    for proposal in one_state_plans(table):
        search.offer(proposal)
    search.optimum(BEAM)
    found = search.optimum()
    return None if found is None else value(simulate(table, found, request.schedule), objective)


def _check_demands(table: CostTable, request: Request) -> None:
    """Try without each demand on slices."""
    demands = {
        "one slice a device": ({"one_slice_per_device": False}, request.one_slice_per_device),
        f"at least {request.min_slice_count} slices": ({"min_slice_count": 0}, request.min_slice_count > 1),
        "slices of neighbours in list order": ({"in_list_order": False}, request.in_list_order),
    }
    for words, (change, asked) in demands.items():
        if asked and _least(table, replace(request, **change), "latency") is not None:  # type: ignore[arg-type]
            raise InfeasibleError(f"no plan has {words}; without that demand there is one", "drop the demand")


def _check_caps(table: CostTable, request: Request) -> None:
    """Try without each device's caps, then without groups; name what each alone would need."""
    for device, name in enumerate(table.device_names):
        for kind in ("memory_bytes", "slice_memory_bytes"):
            caps = getattr(table, kind)
            if np.isfinite(caps[device]):
                least = _least_cap(table, request, kind, device)
                if least is not None:
                    flag = "--memory" if kind == "memory_bytes" else "--slice-memory"
                    raise InfeasibleError(
                        f"no plan keeps {name}'s {kind} of {bytes_text(caps[device])}: the least that is enough is "
                        f"{bytes_text(least)}",
                        f"raise the cap: {flag} {name}={least}; or add a device",
                    )
    if (table.group >= 0).any():
        ungrouped = replace(table, group=np.full_like(table.group, -1))
        if _least(ungrouped, request, "latency") is not None:
            raise InfeasibleError("no plan keeps every group on one device within the caps", "relax a cap or a group")


def _least_cap(table: CostTable, request: Request, kind: str, device: int) -> int | None:
    """Return the least cap of one device, in bytes, with which there is a plan; None where no cap is enough."""

    def exists(cap: float) -> bool:
        caps = getattr(table, kind).copy()
        caps[device] = cap
        return _least(replace(table, **{kind: caps}), request, "latency") is not None

    if not exists(float("inf")):
        return None
    low = int(getattr(table, kind)[device])
    high = max(2 * low, 1)
    while not exists(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if exists(middle) else (middle, high)
    return high


def _check_error(table: CostTable, request: Request) -> None:
    """Name the least sum of errors within the other limits."""
    free = replace(request, objective="energy", max_error=None, budget_j=None, deadline_s=None)
    found = Search(errors_as_joules(table), free, Effort(TRANSITIONS, time.monotonic() + EXPLAINED_S)).optimum()
    if found is not None and error_sum(table, found) > (request.max_error or 0.0):
        raise InfeasibleError(
            f"no plan keeps the error budget of {request.max_error:.3g}: the least is {error_sum(table, found):.3g}",
            "raise --max-error, or let a more exact device take part",
        )
