"""One plan for several models that run once, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.cost_tables.constrain import constrain
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.plans import Bound, Plan, PlannedModel
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.plan_file import LATENCY_SUM, plan_to_fields
from mosaic_onnx.planner.core.request import Proposal, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.solve import plan_of, solve
from mosaic_onnx.scenarios.joint.merge import MergedProfile, merge_profiles
from mosaic_onnx.scenarios.joint.sum_latency import least_sum_latency, model_latencies, split_by_model

JointObjective = Literal["latency", "energy", "edp", "throughput", "sum-latency"]


@dataclass(frozen=True)
class JointPlan:
    """A plan of several models.

    Attributes:
        merged: their profile, with their names and first layers.
        plan: of all layers; its objective says ``latency`` for the sum of latencies too.
        objective: what was asked.
        latencies_s: [M] when each model is done.
    """

    merged: MergedProfile
    plan: Plan
    objective: JointObjective
    latencies_s: tuple[float, ...]

    @property
    def written_plan(self) -> Plan:
        """Return the plan with its models, as a file holds it."""
        merged = self.merged
        models = tuple(
            PlannedModel(name, first, {"latency_s": latency_s})
            for name, first, latency_s in zip(merged.names, merged.first_layers, self.latencies_s, strict=True)
        )
        return replace(self.plan, models=models, is_latency_sum=self.objective == LATENCY_SUM)


def plan_jointly(
    profiles: Sequence[Profile],
    names: Sequence[str],
    request: Request,
    constraints: Constraints | None = None,
    *,
    sum_latency: bool = False,
) -> JointPlan:
    """Plan several models that begin at once.

    Args:
        profiles: of the models, all of the same devices.
        names: what to call the models.
        request: objective, schedule, limits.
        constraints: pins, forbids and caps; layers' names begin with ``model/``.
        sum_latency: make the sum of the models' latencies smallest, not the request's objective.

    Raises:
        ModelError: the profiles do not fit together.
        UsageError: the sum of latencies is asked for with a sequential schedule, or something that it cannot keep.
        InfeasibleError: no plan satisfies the constraints.
    """
    merged = merge_profiles(profiles, names)
    merged = replace(merged, profile=constrain(merged.profile, constraints or Constraints()))
    table = cost_table(merged.profile)
    if sum_latency:
        return _least_sum(merged, table, profiles, request)
    solution = solve(table, request)
    proposal = split_by_model(solution.proposal, merged.first_layers)
    plan = _judged(table, request, solution.plan.method, proposal, solution.plan.bound)
    latencies = model_latencies(table, proposal, simulate(table, proposal, request.schedule), merged.first_layers)
    return JointPlan(merged, plan, request.objective, latencies)


def joint_plan_to_fields(joint: JointPlan) -> dict[str, object]:
    """Return the JSON object of a joint plan: plan.json with ``models``."""
    return plan_to_fields(joint.written_plan)


def _least_sum(merged: MergedProfile, table: CostTable, profiles: Sequence[Profile], request: Request) -> JointPlan:
    if request.schedule != "concurrent":
        raise UsageError("the sum of latencies is planned side by side", "--schedule concurrent")
    limits = request.deadline_s, request.budget_j, request.max_error, request.max_slice_count
    if any(limit is not None for limit in limits) or request.one_slice_per_device or request.min_slice_count:
        raise UsageError("sum-latency takes no deadline, budget or slice count", "leave them out")
    found = least_sum_latency(table, merged.first_layers, [_part(merged, m) for m in range(len(profiles))], request)
    bound = Bound(found.bound_s, "seconds", found.bound_method)
    plan = plan_of(table, request, "sum-latency", found.proposal, found.timeline)
    gap = max(0.0, found.seconds / bound.value - 1) if bound.value > 0 else None
    predicted = replace(plan.predicted, meta={"sum_latency_seconds": found.seconds})
    return JointPlan(merged, replace(plan, bound=bound, gap=gap, predicted=predicted), "sum-latency", found.latencies_s)


def _part(merged: MergedProfile, model: int) -> CostTable:
    """Return the costs of one model of a merged profile, its constraints among them."""
    profile, ends = merged.profile, (*merged.first_layers[1:], len(merged.profile.layers))
    first, end = merged.first_layers[model], ends[model]
    prefix = f"{merged.names[model]}/"
    tensors = {tensor: count for tensor, count in profile.tensor_bytes.items() if tensor.startswith(prefix)}
    return cost_table(
        replace(
            profile,
            tensor_bytes=tensors,
            inputs=tuple(tensor for tensor in profile.inputs if tensor in tensors),
            outputs=tuple(tensor for tensor in profile.outputs if tensor in tensors),
            layers=profile.layers[first:end],
            copies=tuple(
                replace(copy, tensors={t: cost for t, cost in copy.tensors.items() if t in tensors})
                for copy in profile.copies
            ),
            segments=tuple(
                replace(one, first=one.first - first, last=one.last - first)
                for one in profile.segments
                if first <= one.first and one.last < end
            ),
        )
    )


def _judged(table: CostTable, request: Request, method: str, proposal: Proposal, bound: Bound | None) -> Plan:
    return plan_of(table, request, method, proposal, simulate(table, proposal, request.schedule), bound=bound)
