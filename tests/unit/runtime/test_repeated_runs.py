"""Runs that do not count, before those that are timed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from mosaic_onnx.backends.base import Array
from mosaic_onnx.runtime import repeated_runs
from mosaic_onnx.runtime.guards import Incidents
from mosaic_onnx.runtime.repeated_runs import run_repeatedly
from tests.unit.profiling.helpers import ScriptedClock


class SlowAtFirst:
    """A session whose runs take twice as long until the clock says 0.09."""

    def __init__(self, clock: ScriptedClock, run_s: float) -> None:
        self.clock, self.run_s, self.count = clock, run_s, 0
        self.incidents = Incidents()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.count += 1
        self.clock.sleep(self.run_s * (2 if self.clock.perf_counter() < 0.09 else 1))
        return {"y": np.zeros(1)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ScriptedClock:
    scripted = ScriptedClock()
    monkeypatch.setattr(repeated_runs, "time", scripted)
    return scripted


@pytest.mark.parametrize(("run_s", "uncounted"), [(0.001, 56), (0.1, 5), (2.0, 1)])
def test_short_runs_are_timed_after_a_tenth_of_a_second_and_long_ones_not_warmed_up_for_long(
    clock: ScriptedClock, run_s: float, uncounted: int
) -> None:
    session = SlowAtFirst(clock, run_s)
    done = run_repeatedly(session, {}, iterations=3)  # type: ignore[arg-type]
    assert session.count - 3 == pytest.approx(uncounted, abs=1)
    assert done.seconds == pytest.approx((run_s,) * 3)


def test_as_many_runs_are_left_out_as_are_asked_for(clock: ScriptedClock) -> None:
    session = SlowAtFirst(clock, 0.001)
    done = run_repeatedly(session, {}, iterations=2, warmup=0)  # type: ignore[arg-type]
    assert session.count == 2
    assert done.seconds == pytest.approx((0.002, 0.002))
