"""Correct what is predicted of the delivered plan by what the contest measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from mosaic_onnx.passes.state import State

if TYPE_CHECKING:
    from mosaic_onnx.core.plans import Plan


@dataclass(frozen=True)
class Correct:
    """Scale the delivered slices' seconds, in profile and plan, to what the plan took in the contest."""

    name: ClassVar[str] = "correct"
    requires: ClassVar[tuple[str, ...]] = ("opened", "inputs", "selection", "profile", "contest", "delivered")
    ensures: ClassVar[tuple[str, ...]] = ("profile", "delivered")

    def __call__(self, state: State) -> State:
        """Replace profile and delivered plan; both stay as they are where nothing was measured."""
        from mosaic_onnx.planning.correction import corrected

        won, timings = state.delivered, state.contest.timings
        if timings is None or won.name not in timings.seconds:
            return state
        if state.contest.is_rate:
            return _with_rate(state, timings.median_s(won.name))
        found = corrected(state.profile, won.plan, _kept(state, won.plan, timings.median_s(won.name)))
        if found is None:
            return state
        profile, plan = found
        delivered = replace(won, plan=plan, cut=lambda _: (won.slices, won.tuned))
        return replace(state, profile=profile, delivered=delivered)


def _with_rate(state: State, interval_s: float) -> State:
    """Return the state whose delivered plan is predicted to answer requests as often as it did."""
    from mosaic_onnx.planning.throughput_contest import with_measured_interval

    won = state.delivered
    plan = with_measured_interval(won.plan, _kept(state, won.plan, interval_s))
    return replace(state, delivered=replace(won, plan=plan, cut=lambda _: (won.slices, won.tuned)))


def _kept(state: State, plan: Plan, measured_s: float) -> float:
    """Return what the plan took when it was first measured here, so that the same inputs give the same files."""
    from mosaic_onnx.profiling.machine import fingerprint

    if state.cache is None:
        return measured_s
    key = {
        "what": "contest by rate" if state.contest.is_rate else "contest",
        "model": state.opened.sha256,
        "inputs": {name: [str(array.dtype), list(array.shape)] for name, array in state.inputs.items()},
        "slices": [[one.state, list(one.nodes)] for one in plan.slices],
        "replicas": list(plan.replicas),
        "devices": {one.name: [one.backend, one.precision, dict(one.options)] for one in state.selection.chosen},
        "versions": dict(state.selection.versions),
        "machine": dict(fingerprint()),
    }
    known = state.cache.lookup(key)
    if isinstance(known, float) and known > 0:
        return known
    state.cache.store(key, measured_s)
    return measured_s
