"""Estimate the time left of a compilation from what its stages usually take and have taken so far.

Stages follow each other, and each has an expected time. A stage that counts measurements is taken to have done as much
of its time as of its measurements; the others are expected to take their time. What was slower or faster than expected
so far is expected of the rest too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mosaic_onnx.core.progress import Step

EXPECTED_S: Mapping[str, float] = {
    "load": 0.3,
    "normalise": 0.3,
    "read_inputs": 0.1,
    "layerize": 0.1,
    "annotate": 0.1,
    "profile": 5.0,
    "measure_errors": 4.0,
    "feedback": 1.0,
    "keep_budget": 6.0,
    "rewrite": 0.1,
    "judge_errors": 2.0,
    "select": 4.5,
    "correct": 0.1,
    "verify": 0.5,
}
"""Seconds of each pass at normal effort on a network of a few milliseconds (``bench efforts`` prints them)."""
INSIDE = {"estimate": "feedback", "plan": "feedback", "measure_slices": "feedback", "time_plan": "feedback"}
"""Passes that run inside another one: its time is theirs."""


LEAST_SHARE = 0.1
"""Of its measurements that a pass must have done before their pace says how long it takes."""
OVERTIME = 1.2
"""A pass that takes longer than expected is expected to take so many times what it has taken."""
TRUSTED_S = 0.5
"""Seconds of expectation that weigh as much as what was seen."""


@dataclass
class Remaining:
    """The estimate; told every step.

    Attributes:
        stages: expected seconds by pass, those of this compilation, in order.
        clock: returns seconds.
        stage: the pass that runs.
        share: of that pass, what is done as far as it is counted.
    """

    stages: Mapping[str, float]
    clock: Callable[[], float] = time.monotonic
    stage: str = ""
    share: float = 0.0
    taken_s: dict[str, float] = field(default_factory=dict)
    _entered_s: float = 0.0

    def __post_init__(self) -> None:
        self._entered_s = self.clock()

    def tell(self, step: Step) -> None:
        """Take note of a step."""
        name = INSIDE.get(step.stage, step.stage)
        if name in self.stages and name != self.stage and not self._is_behind(name):
            now_s = self.clock()
            if self.stage:
                self.taken_s[self.stage] = now_s - self._entered_s
            self.stage, self.share, self._entered_s = name, 0.0, now_s
        if step.stage == self.stage and step.total_count:
            self.share = max(self.share, step.share or step.done_count / step.total_count)

    def _is_behind(self, name: str) -> bool:
        """Return whether a pass is one that is over: passes may run others again for a moment."""
        order = list(self.stages)
        return bool(self.stage) and order.index(name) < order.index(self.stage)

    @property
    def left_s(self) -> float:
        """Return the seconds that are probably left."""
        if not self.stage:
            return sum(self.stages.values())
        here_s, stage_s = self.clock() - self._entered_s, self._stage_s()
        order = list(self.stages)
        later_s = sum(self.stages[name] for name in order[order.index(self.stage) + 1 :])
        pace = self._pace(stage_s, self.stages[self.stage])
        return stage_s - here_s + pace * later_s

    def _stage_s(self) -> float:
        """Return the seconds that the pass under way will probably take in all."""
        here_s = self.clock() - self._entered_s
        if self.share >= LEAST_SHARE:
            return here_s / self.share
        expected_s = self._pace() * self.stages[self.stage]
        return max(expected_s, OVERTIME * here_s)

    def _pace(self, more_s: float = 0.0, more_expected_s: float = 0.0) -> float:
        """Return how many times longer than expected things took so far; near one while little is known."""
        taken_s = sum(self.taken_s.values()) + more_s
        expected_s = sum(self.stages[name] for name in self.taken_s) + more_expected_s
        return (taken_s + TRUSTED_S) / (expected_s + TRUSTED_S)

    @property
    def done(self) -> float:
        """Return the share of the whole time that is probably over."""
        taken_s = sum(self.taken_s.values()) + self.clock() - self._entered_s
        left_s = self.left_s
        return taken_s / (taken_s + left_s) if taken_s + left_s else 1.0
