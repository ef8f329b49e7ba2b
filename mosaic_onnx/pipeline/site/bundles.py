"""Each model of a scenario cut as the schedule says, proved, and written as a bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.errors import OutputsDifferError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.delivery.verify import Verify
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.compilation import Compilation
from mosaic_onnx.pipeline.delivery import deliver
from mosaic_onnx.pipeline.pipelines import COMPILE
from mosaic_onnx.planner.core.request import Proposal, Request
from mosaic_onnx.planning.candidates import PLAN, Candidate
from mosaic_onnx.planning.contest import Contest
from mosaic_onnx.planning.profile_plan import plan_of_slices
from mosaic_onnx.rewriting.rewrite import canonical_model


@dataclass(frozen=True)
class DeliverPlan:
    """The pass: deliver slices that somebody chose, without a contest.

    Attributes:
        plan: the slices and their states.
        reason: why there is no contest.
    """

    name: ClassVar[str] = "deliver_plan"
    requires: ClassVar[tuple[str, ...]] = ("selection", "opened", "normalised", "inputs", "graph", "profile")
    ensures: ClassVar[tuple[str, ...]] = ("plan", "table", "cutter", "candidates", "contest", "delivered")

    plan: Plan
    reason: str

    def __call__(self, state: State) -> State:
        """Add the candidate that is delivered."""
        state = state.with_cutter()
        candidate = Candidate(
            PLAN,
            self.plan,
            cut=lambda plan: state.cutter(state.profile, plan),
            partition=lambda plan: canonical_model(state.opened, state.normalised, state.profile, plan),
        )
        return replace(
            state,
            plan=self.plan,
            table=cost_table(state.profile),
            candidates=(candidate,),
            contest=Contest(PLAN, self.reason),
            delivered=candidate,
        )


def write_model(state: State, proposal: Proposal, scheduler: str, folder: Path) -> None:
    """Cut a model as its schedule says, prove it, and write its bundle.

    Args:
        state: of the model, after profiling.
        proposal: its slices.
        scheduler: who chose them.
        folder: of the bundle; must not exist.

    Raises:
        OutputsDifferError: the slices do not compute what the model computes.
        BackendError: a slice cannot be loaded.
    """
    plan = plan_of_slices(state.profile, Request(schedule="concurrent"), f"scenario, {scheduler}", proposal)
    chosen = DeliverPlan(plan, "the plan is part of a schedule of several models")
    proved = run_passes((chosen, Verify()), state)
    if not proved.proof.passed:
        words = "; ".join(proved.proof.failures[:3])
        raise OutputsDifferError(
            f"{state.path.name}: the partitioned model is not right: {words}", "nothing was written"
        )
    deliver(Compilation(proved, COMPILE), folder)
