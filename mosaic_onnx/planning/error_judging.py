"""Candidates under a budget of errors: each measured end to end as it would be delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.errors import BackendError, InfeasibleError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.loading.normalise import Normalised
from mosaic_onnx.planning.accuracy_budget import Kept, error_sum
from mosaic_onnx.planning.candidates import PLAN, Candidate
from mosaic_onnx.profiling.measure_errors import ASSUMED
from mosaic_onnx.rewriting.rewrite import slice_models
from mosaic_onnx.runtime.executor import open_program
from mosaic_onnx.verification.marks import find_marks
from mosaic_onnx.verification.precision.end_to_end_error import EndToEndError, measure_end_to_end_error
from mosaic_onnx.verification.precision.report import Precision
from mosaic_onnx.verification.precision.samples import Samples


@dataclass(frozen=True)
class Judged:
    """Candidates by their measured errors.

    Attributes:
        truths: by name, of every candidate that runs.
        refused: those that do not run or break the budget, with the reason.
    """

    truths: Mapping[str, EndToEndError]
    refused: Mapping[str, str]


@dataclass(frozen=True)
class ErrorJudge:
    """Measure what plans of one model make of its samples.

    Attributes:
        normalised: the model.
        selection: devices that take part.
        samples: what errors are measured on.
    """

    normalised: Normalised
    selection: Selection
    samples: Samples

    def of_plan(self, profile: Profile, plan: Plan) -> EndToEndError:
        """Return the error of a plan's portable slices; infinite where they do not run."""
        model, folder = self.normalised.model, self.normalised.folder
        try:
            return self.of_slices(slice_models(model, folder, plan, profile), plan)
        except BackendError:
            return EndToEndError(float("inf"))

    def of_slices(self, slices: Sequence[SliceModel], plan: Plan) -> EndToEndError:
        """Return the error of slices.

        Raises:
            BackendError: they do not run.
        """
        model, chosen = self.normalised.model, self.selection
        given = self.samples.runs[0].inputs
        inputs = tuple(value.name for value in model.graph.input if value.name in given)
        outputs = tuple(value.name for value in model.graph.output)
        with open_program(slices, plan, chosen.by_name, chosen.backends, inputs=inputs, outputs=outputs) as program:
            return measure_end_to_end_error(program.run, self.samples, find_marks(model).random)

    def judge(self, candidates: Sequence[Candidate], budget: float) -> Judged:
        """Measure every candidate as it would be delivered.

        Args:
            candidates: what could be delivered.
            budget: largest relative error of any output on any sample.

        Raises:
            InfeasibleError: none keeps the budget.
        """
        truths: dict[str, EndToEndError] = {}
        refused: dict[str, str] = {}
        for one in candidates:
            try:
                truths[one.name] = self.of_slices(one.tuned, one.plan)
            except BackendError as error:
                refused[one.name] = error.message
                continue
            if truths[one.name].error > budget:
                refused[one.name] = f"error {truths[one.name].error:.2g}: above the budget of {budget:g}"
        if len(refused) == len(candidates):
            words = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
            raise InfeasibleError(f"nothing keeps --max-error {budget:g}: {words}", "raise --max-error")
        return Judged(truths, refused)


def precision_of(
    kept: Kept, judged: Judged, delivered: Candidate, profile: Profile, samples: Samples, budget: float
) -> Precision:
    """Return what is said of a delivered plan's errors."""
    share = next((one.error / one.error_sum for one in reversed(kept.trials) if one.error_sum > 0), 1.0)
    truth, sum_ = judged.truths[delivered.name], error_sum(profile, delivered.plan)
    trials = [
        {"error_sum": one.error_sum, "error": min(one.error, 1e300), "predicted_s": one.seconds} for one in kept.trials
    ]
    if delivered.name != PLAN and sum_ > 0:
        share = truth.error / sum_
    return Precision(budget, samples.origin, sum_, share, judged.truths, delivered.name, tuple(trials), ASSUMED)
