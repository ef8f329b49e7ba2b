"""What is said of a compilation's precision: budget, samples, estimate, measurement, agreement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mosaic_onnx.verification.precision.end_to_end_error import Truth


@dataclass(frozen=True)
class Precision:
    """What came of a budget of errors.

    Attributes:
        budget: largest relative error of any output on any sample.
        samples: where the samples come from, in words.
        error_sum: what the errors of the delivered plan's layers add up to, each measured alone.
        share: of such a sum, what shows in the whole, as learned from plans that were run.
        measured: by candidate (the plan and every single device), its error end to end.
        delivered: which of them is delivered.
        trials: plans that were tried, in words.
        assumed: what was not measured.
    """

    budget: float
    samples: str
    error_sum: float
    share: float
    measured: Mapping[str, Truth]
    delivered: str
    trials: tuple[Mapping[str, float], ...] = ()
    assumed: tuple[str, ...] = ()

    @property
    def estimated(self) -> float:
        """The delivered plan's error as the errors of its layers tell it."""
        return self.error_sum * self.share

    @property
    def truth(self) -> Truth:
        """The delivered plan's error as it was measured."""
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
        """For JSON."""
        return {
            "budget": self.budget,
            "samples": {"origin": self.samples, "count": self.truth.sample_count},
            "estimated": {"error": self.estimated, "sum_over_layers": self.error_sum, "share": self.share},
            "measured": _truth_fields(self.truth),
            "candidates": {name: _truth_fields(truth) for name, truth in self.measured.items()},
            "trials": [dict(trial) for trial in self.trials],
            "assumed": list(self.assumed),
        }


def _truth_fields(truth: Truth) -> dict[str, Any]:
    return {
        "error": _finite(truth.error),
        "by_output": {name: _finite(error) for name, error in truth.by_output.items()},
        "top1_agreement": truth.agreement,
    }


def _finite(error: float) -> float | str:
    """JSON knows no infinity."""
    return error if math.isfinite(error) else "not comparable"
