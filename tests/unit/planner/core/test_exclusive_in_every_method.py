"""Whatever method plans, devices that exclude each other never work at once, and nobody beats the proved optimum."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.registry import METHODS
from mosaic_onnx.planning.profile_plan import plan_profile
from tests.unit.planner.random_profiles import random_profile

WORDS = {"best-of": ":20", "preferred": ":d0", "preferred-on-demand": ":d0", "greedy": ":d0"}
CONCURRENT = [f"{name}{WORDS.get(name, '')}" for name in METHODS if name not in ("pareto", "error-budget")]


def profile_with_exclusive_devices(seed: int, mask: int) -> Profile:
    """A random small profile; the bits of ``mask`` choose the pairs of devices that exclude each other."""
    profile = random_profile(seed, chain=False, layer_count=4, state_count=3)
    pairs = list(combinations([device.name for device in profile.devices], 2))
    return replace(profile, exclusive=tuple(pair for bit, pair in enumerate(pairs) if mask >> bit & 1))


def planned(profile: Profile, method: str) -> Plan | None:
    """Return a method's concurrent plan; None where it has none, or is not for such requests."""
    try:
        return plan_profile(profile, Request(schedule="concurrent", method=method, time_limit_s=0.5))
    except (InfeasibleError, UsageError):
        return None


def overlapping(plan: Plan, profile: Profile) -> list[tuple[str, str]]:
    """Return the states of slices that overlap although their devices exclude each other, or are the same."""
    excluded = {frozenset(pair) for pair in profile.exclusive}
    return [
        (one.state, other.state)
        for one, other in combinations(plan.slices, 2)
        if frozenset((device_of(one.state), device_of(other.state))) in excluded | {frozenset((device_of(one.state),))}
        and one.start_s < other.end_s
        and other.start_s < one.end_s
    ]


@pytest.mark.parametrize("method", CONCURRENT)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6), mask=st.integers(0, 7))
def test_a_concurrent_plan_never_overlaps_devices_that_exclude_each_other(method: str, seed: int, mask: int) -> None:
    profile = profile_with_exclusive_devices(seed, mask)
    plan = planned(profile, method)
    if plan is not None:
        assert overlapping(plan, profile) == []


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), mask=st.integers(0, 7))
def test_no_bound_is_above_and_no_plan_below_the_enumerated_optimum(seed: int, mask: int) -> None:
    profile = profile_with_exclusive_devices(seed, mask)
    best = planned(profile, "exhaustive")
    if best is None:
        return
    for method in ("heft", "concurrent-cpsat", "auto"):
        plan = planned(profile, method)
        if plan is not None:
            assert plan.predicted.seconds >= best.predicted.seconds * (1 - 1e-9)
            assert plan.bound is None or plan.bound.value <= best.predicted.seconds * (1 + 1e-9)
