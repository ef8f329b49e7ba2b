"""Runs of a session one after the other, timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from mosaic_onnx.backends.base import Array
from mosaic_onnx.runtime.session import Session
from mosaic_onnx.runtime.shaped_session import ShapedSession

SETTLE_S = 0.1
"""Runs that begin so soon after something else ran are left out. On a virtual machine of two cores ONNX Runtime and
OpenVINO took up to 1.8 times as long for the first 60 to 95 ms after another session ran, threads held on cores too:
two sessions of one model seemed 45 % apart; with this, 2 %."""
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


def settle(call: Callable[[], object], seconds: float = SETTLE_S) -> None:
    """Call again and again for so long; a call that has begun ends."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        call()


def run_repeatedly(
    session: Session | ShapedSession, inputs: Mapping[str, Array], iterations: int, warmup: int | None = None
) -> RunResult:
    """Run and time.

    Args:
        session: what to run.
        inputs: the model's inputs.
        iterations: timed runs, at least one.
        warmup: runs before those; None for five and a tenth of a second, of long runs for what begins within a second.

    Raises:
        ModelError: the inputs are not the model's.
        BackendError: a device failed.
    """
    clock = time.perf_counter
    began_s, limit_s = clock(), WARM_UP_S if warmup is None else float("inf")
    for number in range(WARM_UP_COUNT if warmup is None else warmup):
        if number and clock() > began_s + limit_s:
            break
        session.run(inputs)
    if warmup is None:
        settle(lambda: session.run(inputs), SETTLE_S + began_s - clock())
    seconds = []
    outputs: dict[str, Array] = {}
    for _ in range(iterations):
        began_s = clock()
        outputs = session.run(inputs)
        seconds.append(clock() - began_s)
    return RunResult(outputs, tuple(seconds), dict(session.incidents.fallbacks))
