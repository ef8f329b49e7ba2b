"""Demands of a request on a plan beyond those of the table."""

from __future__ import annotations

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.text.quantities import joules_text, seconds_text
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal, Request, within
from mosaic_onnx.planner.core.simulate import Timeline


def meets(table: CostTable, request: Request, proposal: Proposal, timeline: Timeline) -> None:
    """Check whether a judged proposal keeps what the request asks beyond the table's own constraints.

    Raises:
        InfeasibleError: naming what it breaks.
    """
    deadline_s, budget_j = request.deadline_s, request.budget_j
    if deadline_s is not None and not within(timeline.seconds, deadline_s):
        seconds, limit = seconds_text(timeline.seconds), seconds_text(deadline_s)
        raise InfeasibleError(f"the plan takes {seconds}, the deadline is {limit}")
    if budget_j is not None and not within(timeline.joules or 0.0, budget_j):
        joules, limit = joules_text(timeline.joules or 0.0), joules_text(budget_j)
        raise InfeasibleError(f"the plan draws {joules}, the budget is {limit}")
    if not within(error_sum(table, proposal), request.max_error):
        error = error_sum(table, proposal)
        raise InfeasibleError(f"the layers' errors add up to {error:.3g}, the budget is {request.max_error:.3g}")
    if request.one_slice_per_device and not one_slice_each(table, proposal):
        raise InfeasibleError("a device holds more than one slice")
    if request.in_list_order and not is_listed(proposal):
        raise InfeasibleError("a slice does not hold neighbours of the list of layers, in its order")
    if len(proposal) < min(request.min_slice_count, len(table.layer_names)):
        raise InfeasibleError(f"the plan has {len(proposal)} slices, at least {request.min_slice_count} are asked for")
    if request.max_slice_count is not None and len(proposal) > request.max_slice_count:
        raise InfeasibleError(f"the plan has {len(proposal)} slices, at most {request.max_slice_count} are allowed")


def keeps_shape(table: CostTable, request: Request, proposal: Proposal) -> bool:
    """Return whether slices are on devices and in an order as the request demands, whatever the plan costs."""
    if request.in_list_order and not is_listed(proposal):
        return False
    return not request.one_slice_per_device or one_slice_each(table, proposal)


def one_slice_each(table: CostTable, proposal: Proposal) -> bool:
    """Return whether no device has two slices."""
    devices = [table.rows.state_device[placed.state] for placed in proposal]
    return len(set(devices)) == len(devices)


def is_listed(proposal: Proposal) -> bool:
    """Return whether every slice holds neighbours of the list of layers, in its order."""
    return all(layers == tuple(range(layers[0], layers[0] + len(layers))) for layers, _ in proposal)


def error_sum(table: CostTable, proposal: Proposal) -> float:
    """Return what the errors of a proposal's layers add up to; 0 where the table knows none."""
    if table.layer_error is None:
        return 0.0
    return float(sum(table.layer_error[list(placed.layers), placed.state].sum() for placed in proposal))


def at_least(proposal: Proposal, slice_count: int) -> Proposal:
    """Return the proposal itself, or cut further (the longest slice in its middle) until it has so many slices."""
    slices = list(proposal)
    while len(slices) < slice_count:
        k = max(range(len(slices)), key=lambda k: len(slices[k].layers))
        layers, state = slices[k]
        if len(layers) < 2:
            break
        slices[k : k + 1] = [
            PlacedSlice(layers[: len(layers) // 2], state),
            PlacedSlice(layers[len(layers) // 2 :], state),
        ]
    return tuple(slices)
