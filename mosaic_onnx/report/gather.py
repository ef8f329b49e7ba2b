"""The content of a page, from what the user has: a bundle, a plan with its profile, or a profile alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mosaic_onnx.analysis.explain import explain_layers, explain_plan
from mosaic_onnx.analysis.what_if import request_of
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.errors import InfeasibleError, ModelError, UsageError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.files.bundle import Bundle, read_bundle
from mosaic_onnx.files.manifest import MANIFEST, PROFILE
from mosaic_onnx.files.plan_file import SCHEMA as PLAN_SCHEMA
from mosaic_onnx.files.plan_file import read_plan
from mosaic_onnx.files.profile_file import read_profile
from mosaic_onnx.planning.candidates import single_device_plan
from mosaic_onnx.planning.profile_plan import plan_front, plan_profile
from mosaic_onnx.report.content import Measured, ReportContent
from mosaic_onnx.runtime.trace import Trace

MOST_MOVED = 300
"""Layers of a plan up to which the page says what moving each of them would change: a figure each takes several runs of
the simulator over all layers."""
FRONT_SHARE = 0.3
"""Share of the page's time in which the front is searched: nobody waits minutes for a page."""
MOST_FRONT = 2000
"""Layers up to which the front of latency and energy is searched."""


@dataclass(frozen=True)
class Subject:
    """A plan and its profile, read from what the user gave.

    Attributes:
        profile: what the plan was made from.
        plan: the plan.
        measured: the bundle's measurement; None for files.
        bundle: the bundle; None for files.
    """

    profile: Profile
    plan: Plan
    measured: Measured | None = None
    bundle: Bundle | None = None


def read_subject(source: Path, profile: Path | None = None) -> Subject:
    """Read a bundle's folder, a plan or a profile; a profile alone is planned for latency.

    Args:
        source: the folder or file.
        profile: of a plan's file; None takes ``profile.json`` beside the plan.

    Raises:
        ModelError: a file is wrong.
        UsageError: a plan's profile is not given and not beside it, or one is given that nothing needs.
        InfeasibleError: no plan of the profile exists.
    """
    is_bundle = source.is_dir()
    if not is_bundle and _schema_of(source) == PLAN_SCHEMA:
        return Subject(read_profile(_profile_beside(source, profile)), read_plan(source))
    if profile is not None:
        what = "a bundle" if is_bundle else "a profile"
        raise UsageError(f"{source} is {what}: --profile is for a plan's file", "leave out --profile")
    if is_bundle:
        bundle = read_bundle(source)
        return Subject(bundle.profile, bundle.plan, measured_of(bundle.manifest), bundle)
    planned = read_profile(source)
    return Subject(planned, plan_profile(planned))


def _schema_of(file: Path) -> str:
    """Return the ``schema`` of a JSON file; empty where it has none, and the file's reader will say what is wrong.

    Raises:
        ModelError: the file is not there, or is a model.
    """
    try:
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot read {file}: {error.strerror}", "give a bundle, a plan or a profile") from error
    except ValueError:
        if file.suffix == ".onnx":
            raise ModelError(
                f"{file} is a model", "compile it first (mosaic-onnx compile), or profile it; `inspect` shows a model"
            ) from None
        return ""
    return str(found.get("schema", "")) if isinstance(found, dict) else ""


def _profile_beside(plan: Path, profile: Path | None) -> Path:
    if profile is not None:
        return profile
    beside = plan.parent / PROFILE
    if not beside.is_file():
        raise UsageError(f"{plan} is a plan, and its profile is not beside it", "name it with --profile PROFILE.json")
    return beside


def measured_of(manifest: Mapping[str, Any]) -> Measured | None:
    """Return the measurement that a bundle's manifest tells of; None where it tells none.

    Raises:
        ModelError: its figures are not numbers.
    """
    said = manifest.get("measured")
    if not isinstance(said, Mapping):
        return None
    try:
        return Measured(
            delivered=str(said.get("delivered", "")),
            reason=str(said.get("reason", "")),
            median_s={str(name): float(seconds) for name, seconds in dict(said.get("median_s", {})).items()},
            spread={str(name): float(part) for name, part in dict(said.get("spread", {})).items()},
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"{MANIFEST}: measured: {error}", "compile the model again") from error


def content_of(subject: Subject, *, time_limit_s: float = 10.0, trace: Trace | None = None) -> ReportContent:
    """Return what the page shows of a plan.

    Args:
        subject: the plan and its profile.
        time_limit_s: for planning again with the operators that devices lack.
        trace: a measured run.

    Raises:
        ModelError: the plan is not of this profile.
    """
    profile, plan = subject.profile, subject.plan
    notes = []
    if subject.bundle is not None and subject.bundle.shapes:
        notes.append(f"The bundle holds plans for {len(subject.bundle.shapes) + 1} sets of shapes; this is the first.")
    layer_count = len(profile.layers)
    if layer_count > MOST_MOVED:
        notes.append(f"With more than {MOST_MOVED} layers the page does not say what moving each one would change.")
    front, why = _front(profile, plan, time_limit_s)
    table = cost_table(profile)
    alone = {one.name: single_device_plan(profile, one.name, plan, table) for one in profile.devices}
    return ReportContent(
        profile=profile,
        plan=plan,
        layers=explain_layers(profile, plan, moves=layer_count <= MOST_MOVED),
        explanation=explain_plan(profile, plan, time_limit_s),
        singles={name: one for name, one in alone.items() if one is not None},
        front=front,
        measured=subject.measured,
        trace=trace,
        notes=(*notes, *why),
    )


def _front(profile: Profile, plan: Plan, time_limit_s: float) -> tuple[tuple[Plan, ...], tuple[str, ...]]:
    """Return the front of latency and energy, or why there is none."""
    costs = [cost for layer in profile.layers for cost in layer.cost.values() if cost is not None]
    if not costs or any(cost.joules is None for cost in costs):
        return (), ("The profile has no joules, so there is no front of latency and energy.",)
    if len(profile.layers) > MOST_FRONT:
        return (), (f"The front of latency and energy is not searched with more than {MOST_FRONT} layers.",)
    try:
        request = replace(
            request_of(plan), objective="latency", schedule="sequential", time_limit_s=FRONT_SHARE * time_limit_s
        )
        return plan_front(profile, request), ()
    except InfeasibleError as error:
        return (), (f"There is no front of latency and energy: {error.message}.",)
