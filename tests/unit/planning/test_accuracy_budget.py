"""The search for a plan whose measured error keeps a budget, on devices whose errors are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.accuracy_budget import BudgetSearch, Kept, error_sum, least_sum, without_breakers
from mosaic_onnx.planning.feedback import Refined
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.verification.precision.end_to_end_error import EndToEndError


def profile(*errors: float) -> Profile:
    """A chain: each layer takes 2 s exactly, or 1 s with its error."""
    names = [f"t{number}" for number in range(len(errors) + 1)]
    layers = tuple(
        ProfileLayer(
            f"l{n}", (names[n],), (names[n + 1],), {"exact": Cost(2.0, error=0.0), "rough": Cost(1.0, error=e)}
        )
        for n, e in enumerate(errors)
    )
    devices = (Device("exact"), Device("rough", precision="bf16"))
    return Profile("chain", devices, dict.fromkeys(names, 4), (names[0],), (names[-1],), layers)


def search(given: Profile, budget: float, truth: Callable[[Profile, Plan], float]) -> Kept:
    def make(one: Profile, limit: float) -> Refined:
        request = Request(max_error=limit if limit < math.inf else None, time_limit_s=0.5)
        return Refined(one, plan_profile(one, request), 0, True)

    return BudgetSearch(budget, make, lambda one, plan: EndToEndError(truth(one, plan)))(given)


def rough_count(kept: Kept) -> int:
    return sum(len(one.layers) for one in kept.planned.plan.slices if one.state == "rough")


def test_the_fastest_plan_is_kept_where_it_keeps_the_budget() -> None:
    kept = search(profile(0.01, 0.01), 0.02, error_sum)
    assert rough_count(kept) == 2
    assert len(kept.trials) == 1


def test_errors_that_add_up_fully_leave_as_many_layers_as_the_budget_holds() -> None:
    kept = search(profile(*[0.001] * 10), 0.0041, error_sum)
    assert kept.truth.error <= 0.0041
    assert rough_count(kept) in (3, 4)


def test_errors_that_cancel_let_more_layers_be_rough_than_their_sum_says() -> None:
    kept = search(profile(*[0.001] * 10), 0.001, lambda one, plan: 0.2 * error_sum(one, plan))
    assert kept.truth.error <= 0.001
    assert rough_count(kept) >= 4


def test_a_plan_that_errs_by_more_than_its_sum_tightens_the_limit() -> None:
    kept = search(profile(*[0.001] * 10), 0.002, lambda one, plan: 3.0 * error_sum(one, plan) ** 0.5 * 0.03)
    assert kept.truth.error <= 0.002
    assert kept.trials[0].limit == math.inf


def test_where_every_rough_layer_breaks_the_budget_all_run_exactly() -> None:
    kept = search(profile(0.1, 0.2, 0.3), 0.05, error_sum)
    assert rough_count(kept) == 0
    assert kept.truth.error == 0.0


def test_values_that_are_not_comparable_lead_to_the_exact_plan() -> None:
    kept = search(profile(0.01, 0.01), 0.02, lambda one, plan: math.inf if error_sum(one, plan) else 0.0)
    assert rough_count(kept) == 0


def test_the_exactest_plan_comes_back_even_where_it_breaks_the_budget() -> None:
    kept = search(profile(0.01), 1e-9, lambda one, plan: 1e-7 + error_sum(one, plan))
    assert rough_count(kept) == 0
    assert kept.truth.error == 1e-7


def test_layers_that_break_the_budget_alone_are_taken_away_with_the_reason() -> None:
    given = profile(0.1, 0.001)
    left = without_breakers(given, 0.01)
    assert left.layers[0].cost["rough"] is None
    assert "alone it adds an error of 0.1" in left.layers[0].reasons["rough"]
    assert left.layers[1] == given.layers[1]
    assert given.layers[0].cost["rough"] is not None
    assert without_breakers(left, 0.01) == left


def test_a_layer_that_only_breakers_can_run_keeps_them() -> None:
    given = profile(0.1)
    alone = replace(given, layers=(replace(given.layers[0], cost={"rough": Cost(1.0, error=0.1)}),))
    assert without_breakers(alone, 0.01) == alone
    kept = search(alone, 0.01, error_sum)
    assert kept.truth.error == pytest.approx(0.1)


def test_sums_count_what_is_not_known_as_nothing() -> None:
    given = profile(0.5, 0.25)
    plan = plan_profile(given, Request())
    assert error_sum(given, plan) == pytest.approx(0.75)
    assert least_sum(given) == 0.0
    unknown = replace(given, layers=tuple(replace(one, cost={"rough": Cost(1.0)}) for one in given.layers))
    assert least_sum(unknown) == 0.0
