"""Plan, measure the slices that were chosen, run the plan, and plan again with what they really take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from mosaic_onnx.passes.base import Pass, run_pass, run_passes
from mosaic_onnx.passes.editing import option_of, with_options
from mosaic_onnx.passes.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mosaic_onnx.core.plans import Plan
    from mosaic_onnx.core.profiles import Profile
    from mosaic_onnx.planner.core.request import Request
    from mosaic_onnx.profiling.device_profiler import ProfilingEffort
    from mosaic_onnx.profiling.measure_slices import Choice, SegmentsMeasured


@dataclass(frozen=True)
class Feedback:
    """Go round its passes until every slice of the plan is measured, or the rounds are used up.

    Attributes:
        estimate: makes the cost table.
        plan: plans; its option ``request`` changes from round to round.
        measure: measures slices whole.
        run: times the slices of a plan while it runs.
        round_limit: plans whose slices are measured at most, those with a refused slice not counted.
        run_limit: plans that are run at most.
        refusal_limit: plans with a refused slice that are given up at most.
        limit_s: no round starts after it; the first always does.
        least_gain: share of the best single device's predicted seconds that a cut must save to be tried; 0 for any.
        cutting: how long a runtime's levels of optimisation are compared on each slice; None for the usual.
    """

    name: ClassVar[str] = "feedback"
    requires: ClassVar[tuple[str, ...]] = ("selection", "opened", "normalised", "inputs", "graph", "profile")
    ensures: ClassVar[tuple[str, ...]] = ("profile", "table", "plan", "alternatives", "cutter")

    estimate: Pass
    plan: Pass
    measure: Pass
    run: Pass
    round_limit: int = 5
    run_limit: int = 6
    refusal_limit: int = 24
    limit_s: float = float("inf")
    least_gain: float = 0.0
    cutting: ProfilingEffort | None = None

    def __call__(self, state: State) -> State:
        """Replace the profile by what was learned, and add the plan and its cost table.

        Raises:
            InfeasibleError: no plan satisfies the constraints.
        """
        from mosaic_onnx.planning.feedback import FeedbackLoop

        start = state.with_cutter(self.cutting)
        rounds = _Rounds(self, start)
        limits = self.round_limit, self.run_limit, self.refusal_limit
        request = option_of((self.plan,), "request")
        loop = FeedbackLoop(
            rounds.measure,
            request,
            rounds.run,
            *limits,
            plan=rounds.plan,
            limit_s=self.limit_s,
            planning=state.planning,
        )
        refined = loop(state.profile)
        if self.round_limit and not refined.is_settled:
            state.note(f"the plan still changed after {refined.round_count} rounds of measuring its slices")
        others = rounds.last.alternatives if request.objective == "throughput" else ()
        end = replace(start, profile=refined.profile, plan=refined.plan, alternatives=others)
        is_estimated = rounds.last.profile is refined.profile
        return replace(end, table=rounds.last.table) if is_estimated else run_pass(self.estimate, end)


@dataclass
class _Rounds:
    """The passes of a feedback as the functions that its loop calls; ``last`` is the state of the last plan."""

    passes: Feedback
    start: State

    def __post_init__(self) -> None:
        self.last = self.start

    def plan(self, profile: Profile, request: Request) -> Plan:
        from mosaic_onnx.planning.candidates import worth_cutting

        plan = with_options(self.passes.plan, {"request": request})
        end = run_passes((self.passes.estimate, plan), replace(self.start, profile=profile))
        worth = worth_cutting(profile, end.plan, request, self.passes.least_gain, end.table)
        self.last = replace(end, plan=worth)
        return worth

    def measure(self, wanted: Sequence[Choice]) -> SegmentsMeasured:
        return run_pass(self.passes.measure, replace(self.start, wanted=tuple(wanted))).measured

    def run(self, plan: Plan) -> Sequence[float]:
        return run_pass(self.passes.run, replace(self.last, plan=plan)).slice_seconds
