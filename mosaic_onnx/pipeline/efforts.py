"""The measuring time of a compilation: three efforts and a time budget, as options of the pipeline's passes.

``normal`` is the passes' own defaults, except that it tries no cut that promises next to nothing and begins no
round of planning after some seconds. ``bench efforts`` measures what each costs and gains (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, cast, get_args

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.text.suggestions import did_you_mean
from mosaic_onnx.passes.base import Pass, Passes
from mosaic_onnx.passes.editing import held_passes
from mosaic_onnx.planning import contest, time_plan
from mosaic_onnx.planning.candidates import PLAN
from mosaic_onnx.profiling.device_profiler import ProfilingEffort
from mosaic_onnx.profiling.interleaved import EarlyStop
from mosaic_onnx.profiling.measuring.timing import TimeBudget

EffortName = Literal["quick", "normal", "thorough"]


@dataclass(frozen=True)
class Effort:
    """The time that each part of a compilation may take.

    Attributes:
        profiling: for layers, slices and levels of optimisation.
        running: for a plan whose slices are timed while it runs.
        contest: for the candidates in turn.
        round_limit: plans whose slices are measured.
        run_limit: plans that are run.
        feedback_s: no round of planning and measuring starts after it.
        least_gain: share of the best single device's predicted seconds that a cut must save to be tried.
        usual_s: about how long a compilation of a network of ten milliseconds takes; a time budget is a share of it.
    """

    profiling: ProfilingEffort = field(default_factory=ProfilingEffort)
    running: time_plan.Effort = field(default_factory=time_plan.Effort)
    contest: contest.Effort = field(default_factory=contest.Effort)
    round_limit: int = 5
    run_limit: int = 6
    feedback_s: float = 8.0
    least_gain: float = 0.02
    usual_s: float = 14.0

    def within(self, seconds: float) -> Effort:
        """Return the same effort with no more time than a budget allows.

        Starting, loading and proving take what they take: below some seconds nothing is left to be shortened.

        Args:
            seconds: for the whole compilation.
        """
        share = min(1.0, seconds / self.usual_s)
        profiling, running = self.profiling, self.running
        return replace(
            self,
            profiling=replace(
                profiling,
                layer=_shorter(profiling.layer, share),
                slice=_shorter(profiling.slice, share),
                alone_s=profiling.alone_s * share,
                levels_s=profiling.levels_s * share,
                looks_again=profiling.looks_again if share > 0.5 else "never",
                kept_as=profiling.kept_as if share == 1 else ("within budget", *profiling.kept_as),
            ),
            running=replace(running, seconds=running.seconds * share),
            contest=replace(self.contest, budget_s=min(self.contest.budget_s, 0.25 * seconds)),
            round_limit=self.round_limit
            if share == 1
            else max(min(1, self.round_limit), round(self.round_limit * share)),
            feedback_s=min(self.feedback_s, 0.3 * seconds),
        )


MOST_TIMES = 1.5
"""An effort is shortened to fit a budget only if it usually takes at most so many times the budget."""


def _shorter(budget: TimeBudget, share: float) -> TimeBudget:
    return replace(budget, seconds=budget.seconds * share, min_runs=min(budget.min_runs, 3 if share < 1 else 5))


def on_one_device(effort: Effort) -> Effort:
    """Return an effort without what only a choice between devices needs: layers alone, plans that are run."""
    return replace(effort, profiling=replace(effort.profiling, alone_s=0.0), run_limit=0)


EFFORTS: Mapping[EffortName, Effort] = {
    "quick": Effort(
        profiling=ProfilingEffort(
            layer=TimeBudget(0.004, min_runs=3, max_runs=20),
            slice=TimeBudget(0.03, min_runs=3, max_runs=50),
            alone_s=0.1,
            least_alone_count=0,
            levels_s=0.0,
            looks_again="never",
            one_session=True,
            name="quick",
            kept_as=("quick", "", "thorough"),
        ),
        running=time_plan.Effort(seconds=0.15, max_runs=20),
        contest=contest.Effort(
            round_count=6,
            budget_s=0.5,
            stop=EarlyStop(least_rounds=3, doubted=PLAN),
            repeat_count=1,
            repeat_s=0.01,
            rivals=1.2,
            one_each=True,
        ),
        round_limit=0,
        run_limit=0,
        least_gain=0.1,
        usual_s=4.0,
    ),
    "normal": Effort(),
    "thorough": Effort(
        profiling=ProfilingEffort(
            layer=TimeBudget(0.03),
            slice=TimeBudget(1.0),
            alone_s=20.0,
            looks_again="always",
            levels_s=1.0,
            name="thorough",
            kept_as=("thorough",),
        ),
        running=time_plan.Effort(seconds=1.0),
        contest=contest.Effort(round_count=41, budget_s=40.0, stop=None, repeat_count=2),
        round_limit=8,
        run_limit=8,
        feedback_s=float("inf"),
        least_gain=0.0,
        usual_s=50.0,
    ),
}


def effort_named(name: str, time_budget_s: float | None = None) -> Effort:
    """Return an effort by its name, within a time budget.

    A budget that is far too short for the effort gets a lesser one: that loads fewer sessions, which no shorter
    measurement spares.

    Raises:
        UsageError: there is no such effort, or the budget is not a positive number.
    """
    known: tuple[EffortName, ...] = get_args(EffortName)
    found = next((one for one in known if one == name.lower()), None)
    if found is None:
        raise UsageError(f"there is no effort {name!r}", did_you_mean(name, known))
    if time_budget_s is None:
        return EFFORTS[found]
    if not time_budget_s > 0:
        raise UsageError(f"a time budget of {time_budget_s:g} s leaves no time", "give some seconds: 20s")
    allowed = [EFFORTS[one] for one in known[: known.index(found) + 1]]
    fitting = [one for one in allowed[1:] if one.usual_s <= MOST_TIMES * time_budget_s]
    return [allowed[0], *fitting][-1].within(time_budget_s)


def with_effort(passes: Passes, effort: Effort) -> Passes:
    """Return a compilation, or a part of one, whose passes take as long as an effort says."""
    return tuple(_with_effort(one, effort) for one in passes)


def _with_effort(one: Pass, effort: Effort) -> Pass:
    """Return a pass with its share of an effort; passes inside it too."""
    own: dict[str, dict[str, Any]] = {
        "profile": {"effort": effort.profiling},
        "measure_slices": {"effort": effort.profiling},
        "time_plan": {"effort": effort.running},
        "select": {"effort": effort.contest},
        "feedback": {
            "round_limit": effort.round_limit,
            "run_limit": effort.run_limit,
            "limit_s": effort.feedback_s,
            "least_gain": effort.least_gain,
            "cutting": effort.profiling,
        },
    }
    known: set[str] = {each.name for each in fields(cast(Any, one))} if is_dataclass(one) else set()
    changes = {name: value for name, value in own.get(one.name, {}).items() if name in known}
    for name, inner in held_passes(one):
        changes[name] = with_effort(inner, effort) if isinstance(inner, tuple) else _with_effort(inner, effort)
    return cast(Pass, replace(cast(Any, one), **changes)) if changes else one
