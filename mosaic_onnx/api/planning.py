"""Plan from profiles, with no device at hand."""

from __future__ import annotations

from collections.abc import Sequence

from mosaic_onnx.analysis.compare_changes import Supposed, compare_changes
from mosaic_onnx.analysis.what_if import request_of
from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.cost_tables.constrain import constrain
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.plan_file import read_plan
from mosaic_onnx.files.profile_file import read_profile
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.editing import configured
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.options import PathLike
from mosaic_onnx.pipeline.pipelines import PLAN
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning import profile_plan
from mosaic_onnx.planning.candidates import single_device_plan
from mosaic_onnx.planning.profile_plan import plan_of_slices, proposal_of


def load_plan(file: PathLike) -> Plan:
    """Read a plan from its file.

    Raises:
        ModelError: the file is wrong; the message names the key.
    """
    return read_plan(file)


def plan(profile: Profile | PathLike, request: Request | None = None, constraints: Constraints | None = None) -> Plan:
    """The best plan that the planner finds for a profile.

    Raises:
        ModelError: the profile's file is wrong.
        InfeasibleError: no plan satisfies the constraints.
    """
    measured = profile if isinstance(profile, Profile) else read_profile(profile)
    options = {"request": request or Request(), "constraints": constraints or Constraints()}
    return run_passes(configured(PLAN, options), State(profile=measured)).plan


def plan_front(
    profile: Profile | PathLike, request: Request | None = None, constraints: Constraints | None = None
) -> tuple[Plan, ...]:
    """Every plan of a profile that no other plan beats in both seconds and joules, fastest first.

    Raises:
        ModelError: the profile's file is wrong.
        InfeasibleError: no plan satisfies the constraints.
        UsageError: the profile has no joules.
    """
    measured = profile if isinstance(profile, Profile) else read_profile(profile)
    return profile_plan.plan_front(measured, request or Request(), constraints)


def what_if(
    profile: Profile | PathLike,
    changes: Sequence[str],
    request: Request | None = None,
    constraints: Constraints | None = None,
) -> tuple[Supposed, ...]:
    """The plan of the machine as it is, then of each machine that is supposed.

    Args:
        profile: what was measured, or its file.
        changes: ``npu×2`` (twice as fast; ``x`` and ``*`` do too), ``link×0.5`` and ``link:npu×2`` (copies),
            ``npu+Resize`` (it runs that operator); several at once joined by commas.
        request: what is asked of each plan.
        constraints: what each must keep.

    Raises:
        ModelError: the profile's file is wrong.
        InfeasibleError: the machine as it is has no plan.
        UsageError: a change cannot be read, or changes nothing.
    """
    measured = profile if isinstance(profile, Profile) else read_profile(profile)
    return compare_changes(measured, changes, request or Request(), constraints)


def single_devices(profile: Profile, like: Plan, constraints: Constraints | None = None) -> dict[str, Plan]:
    """The plans of devices that can run the whole model alone, by name, to hold a plan against.

    Args:
        profile: what was measured.
        like: the plan whose objective they are compared under.
        constraints: what they must keep besides.
    """
    constrained = constrain(profile, constraints or Constraints())
    table = cost_table(constrained)
    plans = {one.name: single_device_plan(constrained, one.name, like, table) for one in constrained.devices}
    return {name: plan for name, plan in plans.items() if plan is not None}


def plan_in_profile(profile: Profile, plan: Plan, constraints: Constraints | None = None) -> Plan:
    """Return the slices of a plan with their costs in another profile of the same layers: of one shape of several.

    Raises:
        InfeasibleError: they break a constraint there.
    """
    constrained = constrain(profile, constraints or Constraints())
    return plan_of_slices(constrained, request_of(plan), plan.method, proposal_of(constrained, plan))
