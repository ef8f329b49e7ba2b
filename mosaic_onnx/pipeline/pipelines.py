"""The pipelines: every command is one of these tuples, or one of them cut short.

A pass is a frozen dataclass whose fields are its options (``mosaic_onnx.passes``); what flows from one to the next is
``mosaic_onnx.passes.state.State``. The comments say what each adds to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mosaic_onnx.passes.base import Passes
from mosaic_onnx.passes.delivery.correct import Correct
from mosaic_onnx.passes.delivery.rewrite import Rewrite
from mosaic_onnx.passes.delivery.select import Select
from mosaic_onnx.passes.delivery.verify import Verify
from mosaic_onnx.passes.editing import after, find, instead, since, until, without
from mosaic_onnx.passes.given import DeliverPlan, GivenPlan, GivenProfile
from mosaic_onnx.passes.measurement.estimate import Estimate
from mosaic_onnx.passes.measurement.measure_errors import MeasureErrors
from mosaic_onnx.passes.measurement.measure_slices import MeasureSlices
from mosaic_onnx.passes.measurement.profile import Profile
from mosaic_onnx.passes.measurement.set_levels import SetLevels
from mosaic_onnx.passes.measurement.time_plan import TimePlan
from mosaic_onnx.passes.planning.accuracy_budget import JudgeErrors, KeepBudget, ReportPrecision
from mosaic_onnx.passes.planning.constrain import Constrain
from mosaic_onnx.passes.planning.feedback import Feedback
from mosaic_onnx.passes.planning.plan import Plan
from mosaic_onnx.passes.preparation.annotate import Annotate
from mosaic_onnx.passes.preparation.layerize import Layerize
from mosaic_onnx.passes.preparation.load import Load
from mosaic_onnx.passes.preparation.normalise import Normalise
from mosaic_onnx.passes.preparation.read_inputs import ReadInputs

if TYPE_CHECKING:
    from pathlib import Path

    from mosaic_onnx.core import plans, profiles

COMPILE: Passes = (
    Load(),  # the file, which nobody vouches for            -> opened
    Normalise(),  # sort; fix shapes; find every type        -> normalised
    ReadInputs(),  # what it is measured and proved with     -> inputs
    Layerize(),  # nodes that stay together                  -> graph
    SetLevels(),  # frequencies as levels, where asked for   -> selection
    Annotate(),  # which device can run which layer          -> annotation
    Profile(),  # measure layers and transfers               -> profile
    Constrain(),  # pins, forbids, memory caps               -> profile
    Feedback(  # round and round, until every slice of the plan is measured:
        Estimate(),  # the profile as arrays                 -> table
        Plan(join_idle_cuts=True, replicate=True),  # slices, their states   -> plan
        MeasureSlices(),  # each slice whole                 -> profile
        TimePlan(),  # each slice while the plan runs        -> profile
    ),
    Rewrite(),  # slices, and one file of slice functions    -> candidates
    Select(),  # the plan against all single devices         -> delivered
    Correct(),  # predict what was measured                  -> profile
    Verify(),  # do both compute what the model computes?    -> proof
)
"""From a model file to slices that are planned, measured and proved."""


def within_budget(passes: Passes) -> Passes:
    """Return a compilation's variant that delivers only what is measured to keep a budget of errors.

    The budget is the ``max_error`` of the plan's request.
    """
    passes = after(passes, "constrain", MeasureErrors())  # each layer's error in lower precision    -> profile
    passes = instead(passes, "feedback", KeepBudget(find(passes, "feedback")))  # plan under limits  -> plan
    passes = after(passes, "rewrite", JudgeErrors())  # each candidate end to end                    -> refused
    return after(passes, "select", ReportPrecision())  # what to say of it                           -> precision


def from_given(passes: Passes, profile: profiles.Profile | Path | None, plan: plans.Plan | Path | None) -> Passes:
    """Return a compilation's variant that takes a profile or a plan from elsewhere.

    A given profile stands in for the measured one; a given plan is delivered as it is, and measured against nothing.
    """
    if profile is not None:
        passes = instead(passes, "profile", GivenProfile(profile))
    if plan is not None:
        passes = instead(passes, "feedback", GivenPlan(plan))
        passes = instead(passes, "rewrite", Rewrite(with_singles=False))
        passes = instead(passes, "select", DeliverPlan())
    return passes


PREPARE = until(COMPILE, "layerize")
"""From a model file to layers and inputs."""

INSPECT: Passes = (
    *instead(without(PREPARE, "read_inputs"), "normalise", Normalise(shares_weights=False)),
    Annotate(refuse=False),
)
"""The passes that describe a model before anything is measured."""

PROFILE = until(COMPILE, "profile")
"""From a model file to a profile."""

PLAN: Passes = (Constrain(), Estimate(), Plan())
"""From a profile to a plan, with no device at hand."""

VERIFY = since(COMPILE, "verify")
"""From a bundle (``delivery.state_of_bundle``) to the proof that it is right."""
