"""With a budget an output may be off by that much, whatever the reason, and by no more."""

from __future__ import annotations

import numpy as np
import pytest

from mosaic_onnx.verification.differences import difference
from mosaic_onnx.verification.verdicts import within_budget


@pytest.mark.parametrize(
    ("made", "budget", "verdict"),
    [
        ([1.0, 2.0], 0.0, "equal"),
        ([1.0, 2.1], 0.051, "within"),
        ([1.0, 2.1], 0.049, "failed"),
        ([1.0, float("nan")], 1.0, "failed"),
        ([1.0], 1.0, "failed"),
    ],
)
def test_the_verdict_is_the_budgets(made: list[float], budget: float, verdict: str) -> None:
    found = difference("y", np.array(made, np.float32), np.array([1.0, 2.0], np.float32))
    assert within_budget(found, budget).verdict == verdict


def test_random_outputs_are_not_compared() -> None:
    found = difference("y", np.ones(2, np.float32), np.zeros(2, np.float32))
    assert within_budget(found, 0.0, ("RandomNormal",)).verdict == "random"


def test_whole_numbers_are_held_to_the_same_measure() -> None:
    found = difference("y", np.array([3, 100]), np.array([4, 100]))
    assert within_budget(found, 0.01).verdict == "within"
    assert within_budget(found, 0.009).verdict == "failed"
