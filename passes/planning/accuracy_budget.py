"""The passes that a budget of errors puts around planning and selection; ``measure_errors`` comes before them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from mosaic_onnx.core.progress import say_nothing
from mosaic_onnx.passes.base import Pass, run_pass
from mosaic_onnx.passes.editing import option_of, with_options
from mosaic_onnx.passes.planning.feedback import Feedback
from mosaic_onnx.passes.state import State

if TYPE_CHECKING:
    from mosaic_onnx.core.profiles import Profile
    from mosaic_onnx.planner.core.request import Request
    from mosaic_onnx.planning.feedback import Planned


@dataclass(frozen=True)
class KeepBudget:
    """Plan, measure the plan's error, and plan again under a limit that fits it better.

    Attributes:
        planning: the passes that make a plan; the ``max_error`` of its request is the budget.
    """

    name: ClassVar[str] = "keep_budget"
    requires: ClassVar[tuple[str, ...]] = (*Feedback.requires, "samples")
    ensures: ClassVar[tuple[str, ...]] = (*Feedback.ensures, "kept", "budget")

    planning: Pass

    def __call__(self, state: State) -> State:
        """Replace the profile, and add the fastest plan found whose measured error keeps the budget.

        Raises:
            InfeasibleError: no plan satisfies the constraints.
        """
        from mosaic_onnx.core.cost_tables.cost_table import cost_table
        from mosaic_onnx.planning.accuracy_budget import BudgetSearch
        from mosaic_onnx.planning.error_judging import ErrorJudge
        from mosaic_onnx.planning.feedback import Planned

        start = replace(state.with_cutter(), note=say_nothing)
        request: Request = option_of((self.planning,), "request")
        until_s = state.planning.spent_s + request.time_limit_s
        budget = 0.0 if request.max_error is None else request.max_error
        tried: dict[int, State] = {}

        def plan(profile: Profile, limit: float) -> Planned:
            left_s = max(0.0, until_s - state.planning.spent_s)
            asked = with_options(self.planning, {"request": _limited(request, limit, left_s)})
            after = run_pass(asked, replace(start, profile=profile))
            tried[id(after.plan)] = after
            return Planned(after.profile, after.plan)

        judge = ErrorJudge(state.normalised, state.selection, state.samples)
        kept = BudgetSearch(budget, plan, judge.of_plan)(state.profile)
        best = tried[id(kept.planned.plan)]
        # The search takes states that alone break the budget from the planner; single devices may still be candidates.
        profile = replace(best.profile, layers=state.profile.layers)
        return replace(
            best,
            note=state.note,
            profile=profile,
            table=cost_table(profile),
            plan=replace(best.plan, constraints={**best.plan.constraints, "max_error": budget}),
            kept=kept,
            budget=budget,
        )


def _limited(request: Request, limit: float, left_s: float) -> Request:
    """Return the request of one of several trials, which leaves a share of the time to those that may follow it."""
    from mosaic_onnx.planning.feedback import LATER_SHARE

    max_error = None if limit == float("inf") else limit
    return replace(request, max_error=max_error, time_limit_s=(1 - LATER_SHARE) * left_s)


@dataclass(frozen=True)
class JudgeErrors:
    """Measure every candidate's error as it would be delivered, and refuse what breaks the budget."""

    name: ClassVar[str] = "judge_errors"
    requires: ClassVar[tuple[str, ...]] = ("selection", "normalised", "candidates", "samples", "budget")
    ensures: ClassVar[tuple[str, ...]] = ("judged", "refused")

    def __call__(self, state: State) -> State:
        """Add the errors of all candidates, and those that are refused.

        Raises:
            InfeasibleError: none keeps the budget.
        """
        from mosaic_onnx.planning.error_judging import ErrorJudge

        budget = 0.0 if state.budget is None else state.budget
        judged = ErrorJudge(state.normalised, state.selection, state.samples).judge(state.candidates, budget)
        return replace(state, judged=judged, refused=judged.refused)


@dataclass(frozen=True)
class ReportPrecision:
    """Say what came of the budget."""

    name: ClassVar[str] = "report_precision"
    requires: ClassVar[tuple[str, ...]] = ("kept", "judged", "delivered", "profile", "samples", "budget")
    ensures: ClassVar[tuple[str, ...]] = ("precision",)

    def __call__(self, state: State) -> State:
        """Add what is said of the delivered plan's errors."""
        from mosaic_onnx.planning.error_judging import precision_of

        budget = 0.0 if state.budget is None else state.budget
        found = precision_of(state.kept, state.judged, state.delivered, state.profile, state.samples, budget)
        return replace(state, precision=found)
