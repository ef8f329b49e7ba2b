"""The bound is never above what some schedule reaches, and close where loads decide."""

from __future__ import annotations

import dataclasses

import pytest

from mosaic_onnx.core.profiles import MeasuredSlice
from mosaic_onnx.scenarios.bound import floor_seconds, multiplier_bound
from mosaic_onnx.scenarios.simulation.multiplier import ScheduleEvaluator
from tests.unit.scenarios.builders import chain_profile, instance_of, random_instance, random_schedule, whole
from tests.unit.scenarios.enumeration import least_of_all, small_instance


@pytest.mark.parametrize("seed", range(3))
def test_no_schedule_of_a_small_scenario_is_below_it(seed: int) -> None:
    instance = small_instance(seed, layer_count=2)
    bound = multiplier_bound(instance)
    assert 0 < bound.value <= least_of_all(instance, bound.value / 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_no_schedule_of_two_models_of_three_layers_is_below_it(seed: int) -> None:
    instance = small_instance(seed, layer_count=3)
    bound = multiplier_bound(instance)
    assert bound.value <= least_of_all(instance, bound.value / 2)


def test_no_random_schedule_of_a_random_scenario_is_below_it() -> None:
    compared = 0
    for seed in range(120):
        instance = random_instance(seed)
        schedule = random_schedule(instance, seed)
        if schedule is None:
            continue
        bound = multiplier_bound(instance).value
        assert bound <= ScheduleEvaluator(instance, schedule).least_multiplier(bound / 3 + 1e-6)
        compared += 1
    assert compared > 60


def test_two_models_on_one_device_need_the_time_of_both() -> None:
    instance = instance_of([(0.1, [chain_profile([(0.04, None)]), chain_profile([(0.06, None)])])])
    bound = multiplier_bound(instance)
    assert bound.method == "device loads"
    assert 0.93 <= bound.value <= 0.94  # all of both would be 1.0; a score of 95 lets a tenth of the longer one go
    assert ScheduleEvaluator(instance, whole(instance, 0, 0)).least_multiplier(bound.value) < 1.03


def test_one_model_on_many_devices_needs_its_critical_path() -> None:
    instance = instance_of([(0.1, [chain_profile([(0.05, 0.05)])])])
    bound = multiplier_bound(instance)
    assert bound.method == "critical path"
    assert bound.value == pytest.approx((0.05 + 0.000196) / 0.1, rel=1e-3)


def test_a_measured_slice_that_beats_its_layers_lowers_it() -> None:
    profile = chain_profile([(0.04, None), (0.06, None)])
    fast = dataclasses.replace(profile, segments=(MeasuredSlice(0, 1, "a", 0.05),))
    instance = instance_of([(0.1, [fast])])
    assert floor_seconds(instance.table)[:, 0].tolist() == pytest.approx([0.02, 0.03])
    bound = multiplier_bound(instance).value
    assert bound <= ScheduleEvaluator(instance, whole(instance, 0)).least_multiplier(bound) < 0.52
