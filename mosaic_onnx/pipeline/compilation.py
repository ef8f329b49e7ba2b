"""The compiler: passes in order, from a model file to slices that are measured and proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from mosaic_onnx.backends.base import CostSource, SliceModel
from mosaic_onnx.core.constraints import constrain
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.loading.model import custom_operators, runtime_accepts
from mosaic_onnx.passes.accuracy_budget import KeepBudget
from mosaic_onnx.passes.annotate import annotate
from mosaic_onnx.passes.estimate import cost_table
from mosaic_onnx.passes.feedback import MeasureSlices, Refine, Refined, unmeasured
from mosaic_onnx.passes.joint_optimise import Tune
from mosaic_onnx.passes.measure_slices import measure_segments
from mosaic_onnx.passes.optimisation_level import PickOptimisation
from mosaic_onnx.passes.profile import ProfileOptions, profile_model
from mosaic_onnx.passes.rewrite import Extractor, slice_models
from mosaic_onnx.passes.select import (
    PLAN,
    Candidate,
    Contest,
    Slices,
    contest,
    contest_by_prediction,
    single_device_plan,
)
from mosaic_onnx.passes.time_plan import Rehearse
from mosaic_onnx.passes.verify import Verifiable, Verify
from mosaic_onnx.pipeline.accuracy_budget import Budgeting
from mosaic_onnx.pipeline.preparation import Note, Prepared, Recipe, prepare, say_nothing
from mosaic_onnx.profiling.progress import Progress
from mosaic_onnx.runtime.executor import Executor, open_program
from mosaic_onnx.verification.precision.report import Precision
from mosaic_onnx.verification.precision.samples import gather_samples
from mosaic_onnx.verification.reference import Reference
from mosaic_onnx.verification.report import VerifyReport

_LACKS_KERNEL = "Could not find an implementation"
"""ONNX Runtime's words where the model is legal and only its CPU provider lacks an operator for a type."""


@dataclass(frozen=True)
class Compiled:
    """What a compilation found.

    Attributes:
        prepared: the model.
        selection: devices that took part.
        profile: what was measured.
        planned: the plan that the planner made.
        contest: how it did against the single devices.
        plan: what is delivered.
        slices: its slices, in its order.
        tuned: the same as they run best on this machine.
        proof: that they compute what the uncut model computes.
        single_predicted: seconds by device that can run the whole model, as the simulator predicts them.
        precision: what came of a budget of errors; None where none was given.
    """

    prepared: Prepared
    selection: Selection
    profile: Profile
    planned: Plan
    contest: Contest
    plan: Plan
    slices: tuple[SliceModel, ...]
    tuned: tuple[SliceModel, ...]
    proof: VerifyReport
    single_predicted: Mapping[str, float] = field(default_factory=dict)
    precision: Precision | None = None


def measure(prepared: Prepared, selection: Selection, recipe: Recipe, progress: Progress | None = None) -> Profile:
    """Measure every layer on every device.

    Raises:
        ModelError: no device can run some layer; the message names it, and says what ONNX Runtime says of the model.
        BackendError: a device failed.
    """
    refuse_unknown_operators(prepared, selection)
    options = _profile_options(prepared, selection, recipe)
    return profile_model(prepared.normalised, prepared.graph, selection.chosen, selection.backends, options, progress)


def refine(prepared: Prepared, selection: Selection, recipe: Recipe, profile: Profile) -> Refined:
    """Plan, measure the slices that were chosen, and plan again until they agree.

    Raises:
        InfeasibleError: no plan satisfies the constraints.
    """
    run = _rehearsing(prepared, selection, recipe, profile)
    return Refine(_measuring(prepared, selection, recipe), recipe.request, run)(profile)


def _rehearsing(prepared: Prepared, selection: Selection, recipe: Recipe, profile: Profile) -> Rehearse:
    """Runs whole plans, their slices cut as they would be delivered."""
    cut = _cutting(prepared, selection, recipe, profile)
    return Rehearse(
        lambda plan: cut(plan)[1],
        selection.by_name,
        selection.backends,
        prepared.inputs,
        prepared.outputs,
        prepared.opened.sha256,
        selection.versions,
        recipe.cache,
    )


def _measuring(prepared: Prepared, selection: Selection, recipe: Recipe) -> MeasureSlices:
    """Measures slices of the model whole."""
    options = _profile_options(prepared, selection, recipe)

    work = prepared.normalised, prepared.graph
    return lambda choices: measure_segments(*work, choices, selection.chosen, selection.backends, options)


def _profile_options(prepared: Prepared, selection: Selection, recipe: Recipe) -> ProfileOptions:
    return ProfileOptions(
        model_name=prepared.opened.path.name,
        model_sha256=prepared.opened.sha256,
        inputs=prepared.inputs,
        seed=recipe.seed,
        cache=recipe.cache,
        versions=selection.versions,
    )


def refuse_unknown_operators(prepared: Prepared, selection: Selection) -> None:
    """Refuse a model that no device can run, naming the thing.

    Raises:
        ModelError: a layer has no device, or ONNX Runtime, the reference, does not take the model at all.
    """
    claims = annotate(prepared.normalised, prepared.graph, selection.chosen, selection.backends)
    for layer, reasons in zip(prepared.graph.layers, claims.reasons, strict=True):
        if len(reasons) == len(selection.chosen):
            words = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise ModelError(f"no device can run layer {layer.name}: {words}", "name another device with -d")
    refusal = runtime_accepts(prepared.opened)
    if refusal is not None and not (_LACKS_KERNEL in refusal and _has_reference(prepared)):
        custom = custom_operators(prepared.opened.model)
        names = ", ".join(f"{operator} ({nodes[0]})" for operator, nodes in custom.items())
        hint = f"operators outside ONNX's own domains: {names}" if names else "export the model again for ONNX Runtime"
        raise ModelError(f"{prepared.opened.path.name}: {refusal}", hint)


def _has_reference(prepared: Prepared) -> bool:
    """Whether something else than ONNX Runtime can say what the model's outputs should be."""
    try:
        Reference(prepared.normalised.model, prepared.normalised.folder).close()
    except ModelError:
        return False
    return True


def compile_model(
    path: Path,
    selection: Selection,
    recipe: Recipe,
    note: Note = say_nothing,
    progress: Progress | None = None,
) -> Compiled:
    """From a model file to slices that are planned, measured and proved; nothing is written.

    Raises:
        ModelError: the model is refused.
        InfeasibleError: no plan satisfies the constraints.
        BackendError: a device failed.
    """
    prepared = prepare(path, recipe, note)
    profile = constrain(measure(prepared, selection, recipe, progress), recipe.constraints)
    if recipe.request.max_error is not None:
        return _compile_within_budget(prepared, selection, recipe, profile, note, progress)
    refined = refine(prepared, selection, recipe, profile)
    if not refined.is_settled:
        note(f"the plan still changed after {refined.round_count} rounds of measuring its slices")
    profile, planned = refined.profile, replace(refined.plan, constraints=recipe.constraints.as_fields())
    candidates = _candidates(prepared, selection, recipe, profile, planned, note)
    judged = _contest(prepared, selection, recipe, candidates, note)
    chosen = next(one for one in candidates if one.name == judged.winner)
    proof = prove(prepared, selection, chosen)
    alone = {one.name: one.plan.predicted.seconds for one in candidates if one.name != PLAN}
    return Compiled(
        prepared, selection, profile, planned, judged, chosen.plan, chosen.slices, chosen.tuned, proof, alone
    )


def _compile_within_budget(
    prepared: Prepared,
    selection: Selection,
    recipe: Recipe,
    profile: Profile,
    note: Note,
    progress: Progress | None,
) -> Compiled:
    """As ``compile_model`` from the profile on: only what is measured to keep the budget of errors is delivered."""
    budgeting = _budgeting(prepared, selection, recipe, note)

    def make_plan(searched: Profile, limit: float) -> Refined:
        request = replace(recipe.request, max_error=limit if limit < float("inf") else None)
        if request.max_error is not None:  # one of several trials
            request = replace(request, time_limit_s=request.time_limit_s / KeepBudget.round_limit)
        return refine(prepared, selection, replace(recipe, request=request), searched)

    profile = budgeting.measure_errors(profile, progress)
    kept = budgeting.keep(profile, make_plan)
    profile = replace(kept.refined.profile, layers=profile.layers)
    demanded = recipe.constraints.as_fields() | {"max_error": budgeting.budget}
    planned = replace(kept.refined.plan, constraints=demanded)
    candidates = _candidates(prepared, selection, recipe, profile, planned, note)
    errors = budgeting.judge(candidates)
    judged = _contest(prepared, selection, recipe, errors.within, note, errors.refused)
    chosen = next(one for one in candidates if one.name == judged.winner)
    proof = prove(prepared, selection, chosen, budgeting.budget)
    precision = budgeting.report(kept, errors, chosen, profile)
    alone = {one.name: one.plan.predicted.seconds for one in candidates if one.name != PLAN}
    cut = chosen.slices, chosen.tuned
    return Compiled(prepared, selection, profile, planned, judged, chosen.plan, *cut, proof, alone, precision)


def _budgeting(prepared: Prepared, selection: Selection, recipe: Recipe, note: Note) -> Budgeting:
    """The model under the recipe's budget of errors, with its samples."""
    normalised = prepared.normalised
    samples = gather_samples(
        normalised.model,
        normalised.folder,
        prepared.inputs,
        file=recipe.samples,
        inputs_file=recipe.inputs,
        seed=recipe.seed,
    )
    note(f"errors are measured on {len(samples.runs)} samples: {samples.origin}")
    budget = 0.0 if recipe.request.max_error is None else recipe.request.max_error
    sha256 = prepared.opened.sha256
    return Budgeting(normalised, prepared.graph, selection, samples, budget, recipe.cache, sha256)


def _candidates(
    prepared: Prepared, selection: Selection, recipe: Recipe, profile: Profile, planned: Plan, note: Note
) -> tuple[Candidate, ...]:
    """The plan, and each device that runs the whole model alone: one that runs every layer may still fail at all."""
    plans, table = {PLAN: planned}, cost_table(profile)
    measure_slices = _measuring(prepared, selection, recipe)
    for device in selection.chosen:
        alone = single_device_plan(profile, device.name, planned, table)
        if alone is None:
            continue
        untried = unmeasured(profile, alone)
        refused = measure_slices(untried).reasons if untried else {}
        if refused:
            note(f"{device.name} alone is left out: {next(iter(refused.values()))}")
        else:
            plans[device.name] = alone
    cut = _cutting(prepared, selection, recipe, profile)
    return tuple(Candidate(name, plan, cut) for name, plan in plans.items())


def _cutting(
    prepared: Prepared, selection: Selection, recipe: Recipe, profile: Profile
) -> Callable[[Plan], tuple[Slices, Slices]]:
    """Cuts a plan's slices, portable and tuned; the model is indexed for the first plan."""
    model, folder = prepared.normalised.model, prepared.normalised.folder
    options, places = _profile_options(prepared, selection, recipe), (selection.by_name, selection.backends)
    tune = Tune(*places, PickOptimisation(prepared.normalised, prepared.graph, *places, options))
    indexed: list[Extractor] = []

    def cut(plan: Plan) -> tuple[Slices, Slices]:
        if not indexed:
            indexed.append(Extractor(model, folder))
        slices = slice_models(model, folder, plan, profile, indexed[0])
        return slices, tune(model, folder, plan, slices, indexed[0])

    return cut


def _contest(
    prepared: Prepared,
    selection: Selection,
    recipe: Recipe,
    candidates: tuple[Candidate, ...],
    note: Note,
    refused: Mapping[str, str] | None = None,
) -> Contest:
    """Which candidate is delivered."""
    refusal = _why_no_fallback(recipe)
    if refusal:
        note(f"do-no-harm is off: {refusal}")
    stated = [device.name for device in selection.chosen if _is_stated(selection, device.backend)]
    if recipe.request.objective != "latency" or stated:
        judged = contest_by_prediction(candidates, refused)
    else:
        places = selection.by_name, selection.backends
        judged = contest(candidates, *places, prepared.inputs, prepared.outputs, refused=refused)
    if refusal and PLAN not in judged.failed:
        return replace(judged, winner=PLAN, reason=f"do-no-harm is off: {refusal} ({judged.reason})")
    return judged


def _why_no_fallback(recipe: Recipe) -> str:
    """Why the plan is delivered whatever is measured; empty where it is not."""
    if recipe.request.min_slice_count:
        return f"at least {recipe.request.min_slice_count} slices were asked for"
    return "" if recipe.fallback else "--no-fallback"


def _is_stated(selection: Selection, backend: str) -> bool:
    """Whether a backend's times are stated, not measured."""
    return isinstance(selection.backends.get(backend), CostSource)


def prove(prepared: Prepared, selection: Selection, chosen: Candidate, budget: float | None = None) -> VerifyReport:
    """Every slice and the whole against the uncut, unoptimised model."""
    normalised = prepared.normalised

    def opened(slices: Sequence[SliceModel]) -> Executor:
        names = {"inputs": tuple(prepared.inputs), "outputs": prepared.outputs}
        program = open_program(slices, chosen.plan, selection.by_name, selection.backends, **names)
        return stack.enter_context(program)

    with ExitStack() as stack:
        work = Verifiable(
            model=normalised.model,
            folder=normalised.folder,
            slices=chosen.slices,
            program=opened(chosen.slices),
            devices=selection.by_name,
            inputs=prepared.inputs,
            tuned=opened(chosen.tuned) if chosen.is_tuned else None,
        )
        return Verify(budget=budget)(work)
