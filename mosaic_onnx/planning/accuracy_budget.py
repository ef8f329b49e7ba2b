"""A plan whose measured error keeps a budget.

The planner keeps the sum of the layers' errors under a limit of its own. Errors cancel, so the whole errs by less than
the sum; by how much is learned from every plan that is tried, first from the best one whatever its error.
A plan that is measured above the budget tightens the limit; one far below it, that a looser limit would make faster,
loosens it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.planning.feedback import Planned
from mosaic_onnx.verification.precision.end_to_end_error import EndToEndError

MakePlan = Callable[[Profile, float], Planned]
"""The plan of a profile whose layers' errors add up to at most so much, refined by measuring."""
MeasurePlan = Callable[[Profile, Plan], EndToEndError]
NEAR = 0.75
"""A plan that uses so much of the budget is near enough."""
AIM = 0.9
"""The error that the next plan aims at, as a share of the budget."""
MOST_STEP = 8.0
"""The largest factor between one limit and the next."""
CLOSE = 1.1
"""Limits so close to each other make the same plans."""
SAME = 1.005
"""Plans predicted closer than this are as fast as each other."""


@dataclass(frozen=True)
class Trial:
    """One plan that was tried.

    Attributes:
        limit: of the sum of errors, that it was made with; inf for none.
        error_sum: what its layers' errors add up to.
        error: what was measured.
        seconds: predicted.
    """

    limit: float
    error_sum: float
    error: float
    seconds: float


@dataclass(frozen=True)
class Kept:
    """The result of the search.

    Attributes:
        planned: the fastest plan that keeps the budget; where none does, the exactest.
        truth: what was measured of it.
        trials: every plan that was tried.
    """

    planned: Planned
    truth: EndToEndError
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class BudgetSearch:
    """The search for a plan.

    Attributes:
        budget: largest relative error of any output on any sample.
        plan: makes plans.
        measure: measures their errors.
        round_limit: plans that are tried at most, besides the exactest.
    """

    budget: float
    plan: MakePlan
    measure: MeasurePlan
    round_limit: int = 5

    def __call__(self, profile: Profile) -> Kept:
        """Search, beginning with the best plan whatever its error.

        Args:
            profile: with errors (``profiling.measure_errors``).

        Raises:
            InfeasibleError: no plan satisfies the constraints, whatever its errors.
        """
        trials: list[Trial] = []
        best = self._try(profile, math.inf, trials)
        best_s, profile = best[0].plan.predicted.seconds, best[0].profile
        if best[1].error <= self.budget:
            return Kept(*best, tuple(trials))
        profile = without_breakers(profile, self.budget)
        found: tuple[Planned, EndToEndError] | None = None
        kept, broken = 0.0, math.inf
        limit = self._aimed(trials[0].error_sum, best[1].error)
        while len(trials) < self.round_limit and broken > CLOSE * kept:
            try:
                tried = self._try(profile, limit, trials)
            except InfeasibleError:
                break  # not even the exactest states keep this limit
            profile, seconds, error = tried[0].profile, tried[0].plan.predicted.seconds, tried[1].error
            if error <= self.budget:
                if found is None or seconds < found[0].plan.predicted.seconds:
                    found = tried
                kept = max(kept, limit)
                if error >= NEAR * self.budget or seconds <= SAME * best_s:
                    break
            else:
                broken = min(broken, limit, trials[-1].error_sum)
            between = math.sqrt(kept * broken) if kept and broken < math.inf else math.inf
            limit = min(self._aimed(limit, error), between, 0.98 * broken)
        return Kept(*(found or self._exactest(profile, trials) or best), tuple(trials))

    def _exactest(self, profile: Profile, trials: list[Trial]) -> tuple[Planned, EndToEndError] | None:
        """The plan of the exactest states of all layers; None where caps or groups leave no such plan."""
        try:
            return self._try(profile, least_sum(profile), trials)
        except InfeasibleError:
            return None

    def _try(self, profile: Profile, limit: float, trials: list[Trial]) -> tuple[Planned, EndToEndError]:
        planned = self.plan(profile, limit)
        truth = self.measure(planned.profile, planned.plan)
        sum_ = error_sum(planned.profile, planned.plan)
        trials.append(Trial(limit, sum_, truth.error, planned.plan.predicted.seconds))
        return planned, truth

    def _aimed(self, limit: float, error: float) -> float:
        """The limit that would just keep the budget if errors grew with it; a bounded step from the last one."""
        step = AIM * self.budget / error if 0.0 < error < math.inf else 1.0 / MOST_STEP if error else MOST_STEP
        return limit * min(max(step, 1.0 / MOST_STEP), MOST_STEP)


def error_sum(profile: Profile, plan: Plan) -> float:
    """Return the sum of the errors of a plan's layers."""
    return sum(_error(profile, layer, one.state) for one in plan.slices for layer in one.layers)


def least_sum(profile: Profile) -> float:
    """Return the sum of all layers' errors in their most exact states."""
    return sum(
        min((_error(profile, index, state) for state, cost in layer.cost.items() if cost is not None), default=0.0)
        for index, layer in enumerate(profile.layers)
    )


def without_breakers(profile: Profile, budget: float) -> Profile:
    """The profile without the states whose error in one layer alone breaks the budget, with that as the reason.

    A layer that then had no state keeps them all.
    """
    layers = []
    for layer in profile.layers:
        over = {
            state: one.error
            for state, one in layer.cost.items()
            if one is not None and one.error is not None and one.error > budget
        }
        reasons = {
            state: f"alone it adds an error of {error:.2g}, the budget is {budget:g}" for state, error in over.items()
        }
        cost = {state: None if state in over else one for state, one in layer.cost.items()}
        able = any(one is not None for one in cost.values())
        layers.append(replace(layer, cost=cost, reasons={**layer.reasons, **reasons}) if able else layer)
    return replace(profile, layers=tuple(layers))


def _error(profile: Profile, layer: int, state: str) -> float:
    cost = profile.layers[layer].cost.get(state)
    return 0.0 if cost is None or cost.error is None else cost.error
