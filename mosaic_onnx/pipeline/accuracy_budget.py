"""Precision as a budget: the compilation's steps between a profile and candidates that keep a budget of errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.errors import BackendError, InfeasibleError
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.passes.accuracy_budget import KeepBudget, Kept, MakePlan, error_sum
from mosaic_onnx.passes.measure_errors import ASSUMED, MeasureErrors
from mosaic_onnx.passes.normalise import Normalised
from mosaic_onnx.passes.rewrite import slice_models
from mosaic_onnx.passes.select import PLAN, Candidate
from mosaic_onnx.profiling.progress import Progress
from mosaic_onnx.runtime.executor import open_program
from mosaic_onnx.verification.marks import find_marks
from mosaic_onnx.verification.precision.end_to_end_error import Truth, measure_truth
from mosaic_onnx.verification.precision.report import Precision
from mosaic_onnx.verification.precision.samples import Samples


@dataclass(frozen=True)
class Judged:
    """Candidates by their measured errors.

    Attributes:
        truths: by name, of every candidate that runs.
        within: those that keep the budget.
        refused: the others, with the reason.
    """

    truths: Mapping[str, Truth]
    within: tuple[Candidate, ...]
    refused: Mapping[str, str]


@dataclass(frozen=True)
class Budgeting:
    """One model under one budget.

    Attributes:
        normalised: the model.
        graph: its layers.
        selection: devices that take part.
        samples: what errors are measured on.
        budget: largest relative error of any output on any sample.
        cache: where measured errors are kept.
        model_sha256: of the model's file.
    """

    normalised: Normalised
    graph: LayerGraph
    selection: Selection
    samples: Samples
    budget: float
    cache: Cache | None = None
    model_sha256: str | None = None

    def measure_errors(self, profile: Profile, progress: Progress | None = None) -> Profile:
        """The profile with the error that each layer in each state adds to the outputs."""
        measure = MeasureErrors(
            self.selection.chosen,
            self.selection.backends,
            self.samples,
            self.cache,
            self.selection.versions,
            self.model_sha256,
        )
        return measure(self.normalised, self.graph, profile, progress)

    def keep(self, profile: Profile, plan: MakePlan) -> Kept:
        """The fastest plan found whose measured error keeps the budget.

        Raises:
            InfeasibleError: no plan satisfies the constraints.
        """
        return KeepBudget(self.budget, plan, self._truth_of_plan)(profile)

    def judge(self, candidates: Sequence[Candidate]) -> Judged:
        """Measure every candidate as it would be delivered.

        Raises:
            InfeasibleError: none keeps the budget.
        """
        truths: dict[str, Truth] = {}
        refused: dict[str, str] = {}
        for one in candidates:
            try:
                truths[one.name] = self._truth(one.tuned, one.plan)
            except BackendError as error:
                refused[one.name] = error.message
                continue
            if truths[one.name].error > self.budget:
                refused[one.name] = f"error {truths[one.name].error:.2g}: above the budget of {self.budget:g}"
        within = tuple(one for one in candidates if one.name not in refused)
        if not within:
            words = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
            raise InfeasibleError(f"nothing keeps --max-error {self.budget:g}: {words}", "raise --max-error")
        return Judged(truths, within, refused)

    def report(self, kept: Kept, judged: Judged, delivered: Candidate, profile: Profile) -> Precision:
        """What is said of it all."""
        share = next((one.error / one.error_sum for one in reversed(kept.trials) if one.error_sum > 0), 1.0)
        truth, sum_ = judged.truths[delivered.name], error_sum(profile, delivered.plan)
        trials = [
            {"error_sum": one.error_sum, "error": min(one.error, 1e300), "predicted_s": one.seconds}
            for one in kept.trials
        ]
        if delivered.name != PLAN and sum_ > 0:
            share = truth.error / sum_
        return Precision(
            self.budget, self.samples.origin, sum_, share, judged.truths, delivered.name, tuple(trials), ASSUMED
        )

    def _truth_of_plan(self, profile: Profile, plan: Plan) -> Truth:
        model, folder = self.normalised.model, self.normalised.folder
        try:
            return self._truth(slice_models(model, folder, plan, profile), plan)
        except BackendError:
            return Truth(float("inf"))

    def _truth(self, slices: Sequence[SliceModel], plan: Plan) -> Truth:
        """What a plan's slices make of the samples."""
        model = self.normalised.model
        names = {"inputs": _names(model, self.samples), "outputs": tuple(value.name for value in model.graph.output)}
        with open_program(slices, plan, self.selection.by_name, self.selection.backends, **names) as program:
            return measure_truth(program.run, self.samples, find_marks(model).random)


def _names(model: onnx.ModelProto, samples: Samples) -> tuple[str, ...]:
    given = samples.runs[0].inputs
    return tuple(value.name for value in model.graph.input if value.name in given)
