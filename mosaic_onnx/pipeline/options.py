"""The options of a compilation in Python: the fields of its passes, by name; a test holds the two together.

Defaults, help and flags stand at the fields.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.loading.shape_choices import ShapeChoices
from mosaic_onnx.passes.base import Passes
from mosaic_onnx.passes.editing import configured
from mosaic_onnx.pipeline.efforts import Effort, EffortName, effort_named, on_one_device, with_effort
from mosaic_onnx.pipeline.outside import Change, changed
from mosaic_onnx.pipeline.pipelines import COMPILE, from_given, within_budget
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.profiling.energy.watts import Watts

PathLike = str | os.PathLike[str]


class InspectOptions(TypedDict, total=False):
    """Options up to the layers.

    Attributes:
        input_shapes: shapes of dynamic inputs, by name; for ``compile`` a dimension may offer several sizes.
        granularity: what one layer is.
    """

    input_shapes: ShapeChoices
    granularity: Literal["fused", "node", "block"]


class ProfileOptions(InspectOptions, total=False):
    """Options up to the profile.

    Attributes:
        effort: how long to measure: ``quick``, ``normal`` or ``thorough``.
        time_budget_s: about how long the whole may take; what is measured is shortened to fit.
        inputs: a file of inputs; None makes them up from ``seed``.
        seed: of made-up inputs.
        levels: measure real devices at their frequencies and let the plan set one for each slice.
        watts: declared power by device, from which joules are modelled where none are measured.
        sustained_s: how long each device works before it is measured.
    """

    effort: EffortName
    time_budget_s: float | None
    inputs: PathLike | None
    seed: int
    levels: bool
    watts: Mapping[str, Watts]
    sustained_s: float


class CompileOptions(ProfileOptions, total=False):
    """Options of a compilation.

    Attributes:
        request: what the plan is best at, and by which method.
        constraints: pins, forbids and caps.
        fallback: deliver a single device where the plan is not faster (do no harm).
        samples: a file of inputs that errors are measured on, where the request has a ``max_error``: its arrays hold
            whole inputs along their first axis; None for ``inputs``, or drawn ones.
        passes: passes from outside: ``Before("normalise", MyPass())``, ``After`` or ``Instead``, or names under which
            installed packages offer some (docs/passes.md).
        given_profile: a profile made elsewhere, or its file, in the place of measuring one.
        given_plan: a plan made elsewhere, or its file: it is delivered as it is, and measured against nothing.
    """

    request: Request
    constraints: Constraints
    fallback: bool
    samples: PathLike | None
    passes: Sequence[Change | str]
    given_profile: Profile | PathLike | None
    given_plan: Plan | PathLike | None


def with_paths(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with paths in the place of words that name files."""
    given = dict(options)
    for name in ("inputs", "samples", "given_profile", "given_plan"):
        if isinstance(given.get(name), str | os.PathLike):
            given[name] = Path(given[name])
    return given


def compile_passes(options: Mapping[str, Any], *, is_uncut: bool = False) -> Passes:
    """Return the passes of a compilation with these options; a budget of errors makes it the variant within it.

    Args:
        options: see ``CompileOptions``.
        is_uncut: one device without levels takes part: nothing is measured that only a cut needs.

    Raises:
        UsageError: options that exclude each other.
    """
    request: Request = options.get("request", Request())
    given, effort = without_effort(with_paths(options))
    profile, plan = given.pop("given_profile", None), given.pop("given_plan", None)
    if plan is not None and request.max_error is not None:
        raise UsageError("a given plan is delivered as it is: it is not searched within --max-error", "leave one out")
    passes = COMPILE if request.max_error is None else within_budget(COMPILE)
    derived = {
        "min_slice_count": request.min_slice_count,
        "energy": "required" if request.needs_joules else "none",
    }
    changes = given.pop("passes", ())
    effort = on_one_device(effort) if is_uncut else effort
    return changed(with_effort(configured(from_given(passes, profile, plan), given | derived), effort), changes)


def without_effort(options: Mapping[str, Any]) -> tuple[dict[str, Any], Effort]:
    """Return options without what says how long to measure, and the effort that this is.

    Raises:
        UsageError: there is no such effort.
    """
    given = dict(options)
    name, seconds = given.pop("effort", None), given.pop("time_budget_s", None)
    return given, effort_named(name or "normal", seconds)
