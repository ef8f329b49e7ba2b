"""Profiles at a quantile of their costs."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.cost_tables.constrain import constrain
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.quantiles import at_quantile
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import Cost, MeasuredSlice, Profile, ProfileLayer
from mosaic_onnx.files.profile_file import profile_from_json, profile_to_json
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.solve import solve


def steady_or_fast(layer_count: int = 3) -> Profile:
    """A chain: ``fast`` takes 1.0 ± 0.5 s a layer, ``steady`` 1.2 ± 0.01 s."""
    layers = tuple(
        ProfileLayer(
            f"l{k}",
            (f"t{k}",),
            (f"t{k + 1}",),
            {"fast": Cost(1.0, seconds_std=0.5), "steady": Cost(1.2, seconds_std=0.01)},
        )
        for k in range(layer_count)
    )
    tensors = {f"t{k}": 4 for k in range(layer_count + 1)}
    devices = Device("fast"), Device("steady")
    return Profile("spread", devices, tensors, ("t0",), (f"t{layer_count}",), layers)


def test_a_high_quantile_prefers_the_device_of_little_spread() -> None:
    usual = solve(cost_table(steady_or_fast()), Request())
    careful = solve(cost_table(at_quantile(steady_or_fast(), 0.9)), Request())
    assert {usual.plan.slices[0].state, careful.plan.slices[0].state} == {"fast", "steady"}
    assert careful.timeline.seconds == pytest.approx(3 * (1.2 + 0.01 * NormalDist().inv_cdf(0.9)))


def test_the_middle_quantile_is_the_usual_value() -> None:
    middle = cost_table(at_quantile(steady_or_fast(), 0.5))
    assert middle.layer_s == pytest.approx(cost_table(steady_or_fast()).layer_s)


def test_the_planned_quantile_covers_the_runs_whether_layers_are_independent_or_slow_together() -> None:
    profile = steady_or_fast(6)
    planned = 6 * (1.0 + 0.5 * NormalDist().inv_cdf(0.9))
    assert cost_table(at_quantile(profile, 0.9)).layer_s[:, 0].sum() == pytest.approx(planned)
    draws = np.random.default_rng(0).standard_normal((20_000, 6))
    independent = (1.0 + 0.5 * draws).sum(axis=1)
    together = 6 * (1.0 + 0.5 * draws[:, 0])
    assert (independent <= planned).mean() >= 0.9
    assert (together <= planned).mean() == pytest.approx(0.9, abs=0.01)


def test_measured_slices_have_quantiles_too() -> None:
    profile = replace(steady_or_fast(), segments=(MeasuredSlice(0, 1, "fast", 1.5, seconds_std=0.1),))
    seconds = at_quantile(profile, 0.9).segments[0].seconds
    assert seconds == pytest.approx(1.5 + 0.1 * NormalDist().inv_cdf(0.9))
    assert profile_from_json(profile_to_json(profile)) == profile


def test_constraints_carry_the_quantile() -> None:
    demands = Constraints(quantile=0.9)
    assert cost_table(constrain(steady_or_fast(), demands)).layer_s[0, 0] > 1.5
    assert demands.as_fields() == {"quantile": 0.9}


def test_a_profile_without_spreads_and_a_share_outside_0_and_1_are_refused() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        at_quantile(steady_or_fast(), 1.0)
    plain = replace(steady_or_fast(), layers=())
    with pytest.raises(UsageError, match="no spreads"):
        at_quantile(plain, 0.9)
