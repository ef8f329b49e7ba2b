"""Runs of a session one after the other, timed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mosaic_onnx.backends.base import Array
from mosaic_onnx.runtime.session import Session
from mosaic_onnx.runtime.shaped_session import ShapedSession

WARM_UP_COUNT = 5
"""The first runs of a session allocate, and find caches cold: they do not represent the others."""
WARM_UP_S = 1.0
"""No warm-up run starts after so long, but one always runs."""


@dataclass(frozen=True)
class RunResult:
    """Outputs of the last run, how long each timed run took, and by what is said of it, how often a slice fell back."""

    outputs: Mapping[str, Array]
    seconds: tuple[float, ...]
    fallbacks: Mapping[str, int] = field(default_factory=dict)

    @property
    def median_s(self) -> float:
        """Median of the timed runs."""
        return float(np.median(self.seconds))


def run_repeatedly(
    session: Session | ShapedSession, inputs: Mapping[str, Array], iterations: int, warmup: int | None = None
) -> RunResult:
    """Run and time.

    Args:
        session: what to run.
        inputs: the model's inputs.
        iterations: timed runs, at least one.
        warmup: runs before those; None for up to five within about a second.

    Raises:
        ModelError: the inputs are not the model's.
        BackendError: a device failed.
    """
    clock = time.perf_counter
    end_s = clock() + (WARM_UP_S if warmup is None else float("inf"))
    for number in range(WARM_UP_COUNT if warmup is None else warmup):
        if number and clock() > end_s:
            break
        session.run(inputs)
    seconds = []
    outputs: dict[str, Array] = {}
    for _ in range(iterations):
        began_s = clock()
        outputs = session.run(inputs)
        seconds.append(clock() - began_s)
    return RunResult(outputs, tuple(seconds), dict(session.incidents.fallbacks))
