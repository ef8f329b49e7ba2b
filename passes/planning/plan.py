"""Choose the slices and the state of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from mosaic_onnx.passes.state import State
from mosaic_onnx.planner.core.request import Request


@dataclass(frozen=True)
class Plan:
    """Ask the planner's methods for the best plan under the request.

    Attributes:
        request: what the plan is best at, and by which method.
        replicate: for throughput, run the whole model on each of several equal devices where that is better.
        join_idle_cuts: make one slice of neighbouring slices in one state, where the constraints allow that.
    """

    name: ClassVar[str] = "plan"
    requires: ClassVar[tuple[str, ...]] = ("profile", "table")
    ensures: ClassVar[tuple[str, ...]] = ("plan", "alternatives")

    request: Request = field(default_factory=Request)
    join_idle_cuts: bool = False
    replicate: bool = False

    def __call__(self, state: State) -> State:
        """Add the plan.

        Raises:
            InfeasibleError: no plan satisfies the constraints.
            UsageError: the request does not fit the profile.
        """
        from mosaic_onnx.planning.profile_plan import plan_profile, without_idle_cuts
        from mosaic_onnx.planning.replicas import throughput_plans

        plan = plan_profile(state.profile, self.request, table=state.table)
        if self.join_idle_cuts:
            plan = without_idle_cuts(state.profile, self.request, plan, state.table)
        plans = throughput_plans(state.profile, plan, self.request, state.table) if self.replicate else (plan,)
        demands = {**plan.constraints, **state.constraints.as_fields()}
        best, *others = (replace(one, constraints=demands) for one in plans)
        return replace(state, plan=best, alternatives=tuple(others))
