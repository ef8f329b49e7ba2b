"""Proofs that no plan exists: the smallest set of things in conflict that can be named."""

from __future__ import annotations

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Bools, CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.text.quantities import joules_text, seconds_text
from mosaic_onnx.planner.core.lower_bounds import possible_states
from mosaic_onnx.planner.core.request import Request, within


def check_possible(table: CostTable) -> None:
    """Check whether each layer has a state and each group a device.

    Raises:
        InfeasibleError: naming the layer, or the fewest layers of a group found that share no device.
    """
    possible = possible_states(table)
    for layer in np.flatnonzero(~possible.any(axis=1)):
        name = table.layer_names[layer]
        if np.isfinite(table.layer_s[layer]).any():
            raise InfeasibleError(f"no device's memory holds layer {name}", "raise the memory caps, or leave one out")
        raise InfeasibleError(f"no state can run layer {name}", "lift a pin or forbid, or add a device that runs it")
    on_device = np.zeros((len(possible), len(table.device_names)), dtype=np.bool_)
    for state, device in enumerate(table.state_device):
        on_device[:, device] |= possible[:, state]
    for group in np.unique(table.group[table.group >= 0]):
        members = np.flatnonzero(table.group == group)
        if not on_device[members].all(axis=0).any():
            named = ", ".join(table.layer_names[layer] for layer in _fewest(on_device, members.tolist()))
            raise InfeasibleError(
                f"layers of one group share no device that can run them: {named}", "lift a pin or forbid of one of them"
            )


def check_limits(
    request: Request, least_s: float | None, least_j: float | None, least_s_in_budget: float | None = None
) -> None:
    """Check whether the proved bounds leave room for a plan within the request's limits.

    Args:
        request: with its deadline and budget.
        least_s: lower bound of every plan's seconds.
        least_j: lower bound of every plan's joules.
        least_s_in_budget: lower bound of the seconds of every plan within the budget.

    Raises:
        InfeasibleError: naming the limit that cannot be kept, or both where only together they cannot.
    """
    if least_s is not None and not within(least_s, request.deadline_s):
        raise InfeasibleError(
            f"no plan keeps the deadline of {seconds_text(request.deadline_s or 0.0)}: the fastest takes at least "
            f"{seconds_text(least_s)}",
            "raise --deadline-ms, or let a faster device take part",
        )
    if least_j is not None and not within(least_j, request.budget_j):
        raise InfeasibleError(
            f"no plan keeps the budget of {joules_text(request.budget_j or 0.0)}: the thriftiest draws at least "
            f"{joules_text(least_j)}",
            "raise --energy-mj, or let a thriftier device take part",
        )
    if least_s_in_budget is not None and not within(least_s_in_budget, request.deadline_s):
        raise InfeasibleError(
            f"no plan keeps the deadline of {seconds_text(request.deadline_s or 0.0)} together with the budget of "
            f"{joules_text(request.budget_j or 0.0)}: within the budget the fastest takes at least "
            f"{seconds_text(least_s_in_budget)}",
            "raise --deadline-ms or --energy-mj",
        )


def _fewest(on_device: Bools, members: list[int]) -> list[int]:
    """Return a smallest part of the group (none of it can be left out) that shares no device."""
    kept = list(members)
    for layer in members:
        rest = [other for other in kept if other != layer]
        if not on_device[rest].all(axis=0).any():
            kept = rest
    return kept
