"""Correct what is predicted of the delivered plan by what the contest measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mosaic_onnx.passes.state import State


@dataclass(frozen=True)
class Correct:
    """Scale the delivered slices' seconds, in profile and plan, to what the plan took in the contest."""

    name: ClassVar[str] = "correct"
    requires: ClassVar[tuple[str, ...]] = ("profile", "contest", "delivered")
    ensures: ClassVar[tuple[str, ...]] = ("profile", "delivered")

    def __call__(self, state: State) -> State:
        """Replace profile and delivered plan; both stay as they are where nothing was measured."""
        from mosaic_onnx.planning.correction import corrected

        won, timings = state.delivered, state.contest.timings
        if timings is None or won.name not in timings.seconds:
            return state
        found = corrected(state.profile, won.plan, timings.median_s(won.name))
        if found is None:
            return state
        profile, plan = found
        delivered = replace(won, plan=plan, cut=lambda _: (won.slices, won.tuned))
        return replace(state, profile=profile, delivered=delivered)
