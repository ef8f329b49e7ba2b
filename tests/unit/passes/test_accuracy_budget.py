"""The passes of a budget of errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import onnx
import onnx.parser
import pytest

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.discovery.selection import select
from mosaic_onnx.passes.base import run_passes
from mosaic_onnx.passes.planning.accuracy_budget import KeepBudget
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.options import compile_passes
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.accuracy_budget import BudgetSearch
from mosaic_onnx.planning.feedback import LATER_SHARE, Planned

MODEL = '<ir_version: 9, opset_import: ["" : 17]> net (float[2] x) => (float[2] y) { y = Sin (x) }'


@dataclass(frozen=True)
class TimedPlanning:
    """A stand-in for planning: notes the time limit that it is given, and takes ``takes_s`` of it."""

    name: ClassVar[str] = "timed_planning"
    requires: ClassVar[tuple[str, ...]] = ()
    ensures: ClassVar[tuple[str, ...]] = ()

    given_s: list[float] = field(default_factory=list)
    takes_s: float = 3.0
    request: Request = field(default_factory=Request)

    def __call__(self, state: State) -> State:
        self.given_s.append(self.request.time_limit_s)
        state.planning.spent_s += self.takes_s
        return state


def test_the_trials_of_a_budget_share_one_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "net.onnx")
    request = Request(max_error=0.1, time_limit_s=10.0)
    state = run_passes(compile_passes({"request": request})[:-4], State(tmp_path / "net.onnx", select(["cpu"])))

    def search(self: BudgetSearch, profile: object) -> Planned:
        for limit in (float("inf"), 0.2, 0.1, 0.05):
            self.plan(state.profile, limit)
        raise InfeasibleError("no more trials")

    monkeypatch.setattr(BudgetSearch, "__call__", search)
    state.planning.spent_s = 100.0  # by an earlier compilation, for another device that failed
    planning = TimedPlanning(request=request)
    with pytest.raises(InfeasibleError, match="no more trials"):
        KeepBudget(planning)(state)
    share = 1 - LATER_SHARE
    assert planning.given_s == [share * 10.0, share * 7.0, share * 4.0, share * 1.0]
