"""The report on a compilation's precision: budget, samples, estimate, measurement, agreement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mosaic_onnx.verification.precision.end_to_end_error import EndToEndError


@dataclass(frozen=True)
class Precision:
    """The result of compiling under an error budget.

    Attributes:
        budget: largest relative error of any output on any sample.
        samples: where the samples come from, in words.
        error_sum: sum of the contributions of the delivered plan's layers, each measured alone.
        share: ratio of a plan's measured error to such a sum, from the plans that were run.
        measured: by candidate (the plan and every single device), its error end to end.
        delivered: the candidate that is delivered.
        trials: plans that were tried, in words.
        assumed: the assumptions that were not measured.
    """

    budget: float
    samples: str
    error_sum: float
    share: float
    measured: Mapping[str, EndToEndError]
    delivered: str
    trials: tuple[Mapping[str, float], ...] = ()
    assumed: tuple[str, ...] = ()

    @property
    def estimated(self) -> float:
        """Return the delivered plan's error as estimated from its layers."""
        return self.error_sum * self.share

    @property
    def truth(self) -> EndToEndError:
        """Return the delivered plan's measured error."""
        return self.measured[self.delivered]

    def __str__(self) -> str:
        truth = self.truth
        words = [
            f"error {truth.error:.2g} of a budget of {self.budget:g}, measured end to end on {truth.sample_count} "
            f"samples ({self.samples}); estimated {self.estimated:.2g} from a sum of {self.error_sum:.2g} over layers"
        ]
        if truth.agreement is not None:
            words.append(f"top-1 agrees in {truth.agreement:.1%}")
        return "; ".join(words)

    def as_fields(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "budget": self.budget,
            "samples": {"origin": self.samples, "count": self.truth.sample_count},
            "estimated": {"error": self.estimated, "sum_over_layers": self.error_sum, "share": self.share},
            "measured": _truth_fields(self.truth),
            "candidates": {name: _truth_fields(truth) for name, truth in self.measured.items()},
            "trials": [dict(trial) for trial in self.trials],
            "assumed": list(self.assumed),
        }


def _truth_fields(truth: EndToEndError) -> dict[str, Any]:
    return {
        "error": _finite(truth.error),
        "by_output": {name: _finite(error) for name, error in truth.by_output.items()},
        "top1_agreement": truth.agreement,
    }


def _finite(error: float) -> float | str:
    """Return the number, or None for infinity, which JSON cannot hold."""
    return error if math.isfinite(error) else "not comparable"
