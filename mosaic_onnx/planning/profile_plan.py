"""Plan: from a profile to the best plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.cost_tables.constrain import constrain
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.cost_tables.feasibility import check_feasible
from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Plan, Slice
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal, Request
from mosaic_onnx.planner.core.request_constraints import meets
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.search.merging import neighbours_joined
from mosaic_onnx.planner.solve import plan_of, solve, solve_front


def plan_profile(
    profile: Profile,
    request: Request | None = None,
    constraints: Constraints | None = None,
    table: CostTable | None = None,
) -> Plan:
    """The best plan of a profile that ``check_profile`` accepts, with the nodes of every slice.

    Notes of the planner (a solver that is not installed, say) are in the plan's ``meta["notes"]``; what was demanded is
    in its ``constraints``.

    Args:
        profile: what was measured.
        request: what is asked.
        constraints: what the user demands besides.
        table: the cost table of the profile (under its constraints), where it is made already.

    Raises:
        InfeasibleError: no plan satisfies the constraints.
        UsageError: the request or the constraints do not fit the profile.
    """
    request = request or Request()
    if constraints is not None:
        profile = constrain(profile, constraints)
    table = cost_table(profile) if table is None else table
    try:
        solution = solve(table, request)
    except InfeasibleError:
        check_feasible(profile)  # says it in names where it can
        raise
    return replace(
        solution.plan,
        slices=tuple(_with_nodes(profile, item) for item in solution.plan.slices),
        constraints=(constraints.as_fields() if constraints else {}) | _demands(request),
        meta={"notes": notes} if (notes := [*solution.notes, *_dear_links(profile, table)]) else {},
    )


def _dear_links(profile: Profile, table: CostTable) -> tuple[str, ...]:
    """Return a note on direct copies of the profile that no plan uses, or not for every tensor."""
    resident = {device.name for device in profile.devices if device.io == "resident"}
    states = {place: [place] for place in profile.states} | {one.name: list(one.states) for one in profile.devices}
    index = {state: number for number, state in enumerate(profile.states)}
    dear = []
    for copy in profile.copies:
        if not {device_of(copy.source), device_of(copy.destination)} <= resident:
            continue
        pairs = [(index[a], index[b]) for a in states[copy.source] for b in states[copy.destination]]
        if any(pair not in table.direct_s or not np.isfinite(table.direct_s[pair]).all() for pair in pairs):
            dear.append(f"{copy.source} → {copy.destination}")
    if not dear or not table.tensor_names:
        return ()
    more = f" and {len(dear) - 1} more" if len(dear) > 1 else ""
    return (f"direct copies {dear[0]}{more} cost more than by way of host for some tensors: those go by host",)


def _demands(request: Request) -> dict[str, object]:
    """Return a request's constraints beside its objective."""
    demands: dict[str, object] = {
        "deadline_s": request.deadline_s,
        "budget_j": request.budget_j,
        "max_error": request.max_error,
    }
    demands = {name: value for name, value in demands.items() if value is not None}
    if request.one_slice_per_device:
        demands["one_slice_per_device"] = True
    if request.min_slice_count:
        demands["min_slice_count"] = request.min_slice_count
    if request.max_slice_count is not None:
        demands["max_slice_count"] = request.max_slice_count
    return demands


def plan_of_slices(
    profile: Profile, request: Request, method: str, proposal: Proposal, table: CostTable | None = None
) -> Plan:
    """The plan of slices that somebody chose, with the simulator's word on it.

    Args:
        profile: what was measured.
        request: what is asked.
        method: who chose, in words.
        proposal: what was chosen.
        table: the profile's cost table, where it is made already: of a large model it takes seconds.

    Raises:
        InfeasibleError: they break a constraint of the profile.
    """
    table = table or cost_table(profile)
    plan = plan_of(table, request, method, proposal, simulate(table, proposal, request.schedule))
    return replace(plan, slices=tuple(_with_nodes(profile, item) for item in plan.slices))


def without_idle_cuts(profile: Profile, request: Request, plan: Plan, table: CostTable | None = None) -> Plan:
    """A sequential plan whose neighbouring slices in one state are one slice, where the constraints allow that.

    Cutting between two kernels of one device makes neither faster. Measured slices that promise otherwise differ by
    noise, and a search over many of them picks what is measured too low.
    """
    if plan.schedule != "sequential" or request.min_slice_count > 1:
        return plan
    proposal = proposal_of(profile, plan)
    joined = neighbours_joined(proposal)
    if len(joined) == len(proposal):
        return plan
    table = cost_table(profile) if table is None else table
    try:
        timeline = simulate(table, joined, plan.schedule)
        meets(table, request, joined, timeline)
    except InfeasibleError:
        return plan
    made = plan_of(table, request, plan.method, joined, timeline, bound=plan.bound)
    slices = tuple(_with_nodes(profile, item) for item in made.slices)
    return replace(made, slices=slices, constraints=plan.constraints, meta=plan.meta)


def proposal_of(profile: Profile, plan: Plan) -> Proposal:
    """A plan's slices as the planner's methods state them."""
    index = {name: number for number, name in enumerate(profile.states)}
    return tuple(PlacedSlice(one.layers, index[one.state]) for one in plan.slices)


def plan_front(profile: Profile, request: Request, constraints: Constraints | None = None) -> tuple[Plan, ...]:
    """Every plan that no other plan beats in both seconds and joules, fastest first, as far as the method finds them.

    Raises:
        InfeasibleError: no plan satisfies the constraints.
        UsageError: the profile has no joules.
    """
    profile = constrain(profile, constraints or Constraints())
    plans = [
        replace(plan, slices=tuple(_with_nodes(profile, item) for item in plan.slices))
        for plan in solve_front(cost_table(profile), replace(request, pareto=True))
    ]
    return tuple(plans)


def _with_nodes(profile: Profile, item: Slice) -> Slice:
    """The slice with the keys of the nodes that its layers hold."""
    return replace(item, nodes=tuple(node for layer in item.layers for node in profile.layers[layer].nodes))
