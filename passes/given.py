"""Take what was made elsewhere in the place of measuring and planning: a profile, a plan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mosaic_onnx.passes.base import Pass, run_pass
from mosaic_onnx.passes.measurement.estimate import Estimate
from mosaic_onnx.passes.state import State

if TYPE_CHECKING:
    from mosaic_onnx.core.plans import Plan
    from mosaic_onnx.core.profiles import Profile


@dataclass(frozen=True)
class GivenProfile:
    """Read a profile in the place of measuring one.

    Attributes:
        given: the profile, or its file.
    """

    name: ClassVar[str] = "profile"
    requires: ClassVar[tuple[str, ...]] = ("selection", "opened", "normalised")
    ensures: ClassVar[tuple[str, ...]] = ("profile",)

    given: Profile | Path

    def __call__(self, state: State) -> State:
        """Add the profile, with the devices that are here.

        Raises:
            ModelError: the file is wrong, or not of this model.
            UsageError: none of its devices is here.
        """
        from mosaic_onnx.core.graph.graphs import node_keys
        from mosaic_onnx.files.profile_file import read_profile
        from mosaic_onnx.planning.given import fit_profile

        profile = read_profile(self.given) if isinstance(self.given, Path) else self.given
        if profile.model_sha256 not in (None, state.opened.sha256):
            state.note("the profile was made from another file of this model: its nodes have the same names")
        keys = set(node_keys(state.normalised.model.graph))
        fitted = fit_profile(profile, keys, state.selection.by_name)
        absent = [one.name for one in profile.devices if one.name not in state.selection.by_name]
        if absent:
            state.note(f"left out of the profile, not here: {', '.join(absent)}")
        return replace(state, profile=fitted)


@dataclass(frozen=True)
class GivenPlan:
    """Read a plan in the place of searching one.

    Attributes:
        given: the plan, or its file.
        estimate: makes the cost table that its prediction comes from.
    """

    name: ClassVar[str] = "plan"
    requires: ClassVar[tuple[str, ...]] = ("selection", "opened", "normalised", "inputs", "graph", "profile")
    ensures: ClassVar[tuple[str, ...]] = ("table", "plan")

    given: Plan | Path
    estimate: Pass = field(default_factory=Estimate)

    def __call__(self, state: State) -> State:
        """Add the plan and the cost table.

        Raises:
            ModelError: the file is wrong, or not of this profile.
            UsageError: it uses a device that is not here.
            InfeasibleError: it breaks a constraint.
        """
        from mosaic_onnx.files.plan_file import read_plan
        from mosaic_onnx.planning.given import fit_plan

        plan = read_plan(self.given) if isinstance(self.given, Path) else self.given
        state = run_pass(self.estimate, state)
        return replace(state, plan=fit_plan(plan, state.profile, state.table))


@dataclass(frozen=True)
class DeliverPlan:
    """Deliver the plan without measuring it against anything."""

    name: ClassVar[str] = "select"
    requires: ClassVar[tuple[str, ...]] = ("candidates",)
    ensures: ClassVar[tuple[str, ...]] = ("contest", "delivered")

    def __call__(self, state: State) -> State:
        """Add the plan as the winner of no contest."""
        from mosaic_onnx.planning.candidates import PLAN
        from mosaic_onnx.planning.contest import Contest

        delivered = next(one for one in state.candidates if one.name == PLAN)
        state.note("the plan was given: it is delivered, and was not measured against single devices")
        return replace(state, contest=Contest(PLAN, "the plan was given (not measured)"), delivered=delivered)
