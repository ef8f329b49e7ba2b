"""Time every slice of a plan while the whole plan runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from mosaic_onnx.passes.state import State

if TYPE_CHECKING:
    from mosaic_onnx.planning.time_plan import Effort


@dataclass(frozen=True)
class TimePlan:
    """Run the plan, cut as it would be delivered.

    Attributes:
        effort: how long to run it; None for the usual.
    """

    name: ClassVar[str] = "time_plan"
    requires: ClassVar[tuple[str, ...]] = ("selection", "opened", "inputs", "profile", "plan", "cutter")
    ensures: ClassVar[tuple[str, ...]] = ("slice_seconds",)

    effort: Effort | None = None

    def __call__(self, state: State) -> State:
        """Add the slices' seconds; none where a run says nothing, or the plan does not run."""
        from mosaic_onnx.planning.time_plan import Effort, PlanTimer

        chosen = state.selection
        timer = PlanTimer(
            lambda plan: state.cutter(state.profile, plan).tuned,
            chosen.by_name,
            chosen.backends,
            state.inputs,
            state.outputs,
            state.opened.sha256,
            chosen.versions,
            state.cache,
            self.effort or Effort(),
        )
        return replace(state, slice_seconds=timer(state.plan))
