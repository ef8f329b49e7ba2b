"""The search finds optima that enumeration knows, beats every baseline, and gives the same wherever it runs."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from unittest import mock

import pytest

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.scenarios.bound import multiplier_bound
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.search import genetic
from mosaic_onnx.scenarios.search.checkpoint import read_state, write_state
from mosaic_onnx.scenarios.search.genetic import Search, SearchOptions, SearchState
from mosaic_onnx.scenarios.search.pool import ProcessPool, SerialPool
from mosaic_onnx.scenarios.solve import SCHEDULERS, SchedulingOptions, schedule_instance
from tests.unit.scenarios.builders import chain_profile, instance_of, random_instance, random_schedule
from tests.unit.scenarios.enumeration import least_of_all, small_instance

SHORT = SearchOptions(time_limit_s=600.0, population=8, generation_count=2, batch_count=6, most_rounds=2)


def search(instance: Instance, options: SearchOptions, state: SearchState | None = None) -> SearchState:
    return Search(instance, multiplier_bound(instance), SerialPool(instance), options).run(state)


@pytest.mark.slow
def test_two_models_of_four_layers_get_the_optimum_in_at_least_19_of_20_seeds() -> None:
    instance = small_instance(3)
    best = least_of_all(instance, multiplier_bound(instance).value)
    found = [
        search(instance, SearchOptions(seed=seed, time_limit_s=120.0, most_rounds=3)).best.multiplier
        for seed in range(20)
    ]
    assert sum(one <= best for one in found) >= 19


def test_two_models_of_two_layers_get_the_optimum() -> None:
    instance = small_instance(1, layer_count=2)
    best = least_of_all(instance, multiplier_bound(instance).value)
    assert search(instance, SearchOptions(seed=0, most_rounds=2)).best.multiplier == best


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 30), marks=pytest.mark.slow)])
def test_no_baseline_is_better_on_any_random_scenario(seeds: range) -> None:
    compared = 0
    for seed in seeds:
        instance = random_instance(seed)
        if random_schedule(instance, seed) is None:
            continue
        state = search(instance, SHORT)
        bound = multiplier_bound(instance).value
        assert all(bound <= state.best.multiplier <= value for value in state.baselines.values())
        compared += 1
    assert compared > 1


def test_the_same_seed_gives_the_same_schedule_here_and_in_processes() -> None:
    instance = small_instance(4)
    here = search(instance, SHORT)
    assert search(instance, SHORT) == here
    with ProcessPool(instance, worker_count=2) as pool:
        assert Search(instance, multiplier_bound(instance), pool, SHORT).run() == here


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    instance, file = small_instance(5), tmp_path / "state.json"
    whole = search(instance, SHORT)
    first = search(instance, SearchOptions(**vars(SHORT) | {"most_rounds": 1}))
    write_state(file, instance, SHORT.seed, first)
    read = read_state(file, instance, SHORT.seed)
    assert read == first
    assert search(instance, SHORT, read) == whole


def test_a_state_of_another_scenario_is_refused(tmp_path: Path) -> None:
    instance, file = small_instance(5), tmp_path / "state.json"
    write_state(file, instance, 0, search(instance, SearchOptions(most_rounds=0)))
    for other, seed in ((small_instance(6), 0), (instance, 1)):
        with pytest.raises(ModelError, match="another"):
            read_state(file, other, seed)
    assert read_state(tmp_path / "none.json", instance, 0) is None


def test_the_time_limit_is_counted_in_work() -> None:
    instance = small_instance(4)
    options = SearchOptions(time_limit_s=600.0, population=8, generation_count=2, batch_count=6)
    with mock.patch.object(genetic, "WORK_PER_SECOND", 50):  # 30,000 slices, which no clock cuts short
        limited = search(instance, options)
        assert search(instance, options) == limited
    assert 0 < limited.round < search(instance, options).round


def test_no_time_still_gives_the_best_seed() -> None:
    instance = small_instance(7)
    state = search(instance, SearchOptions(time_limit_s=0.0))
    assert state.round == 0
    assert state.best.multiplier <= min(state.baselines.values())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_schedules_what_one_device_cannot_run_alone(scheduler: str) -> None:
    instance = instance_of([(0.02, [chain_profile([(0.004, 0.002), (0.003, None), (0.005, 0.001)], copy_s=0.0005)])])
    scheduled = schedule_instance(instance, SchedulingOptions(scheduler, SHORT, worker_count=1))
    assert scheduled.bound.value <= scheduled.multiplier < 1
    assert scheduled.score >= 95


def test_an_unknown_scheduler_is_refused() -> None:
    with pytest.raises(UsageError, match="no scheduler 'best'"):
        schedule_instance(small_instance(0), SchedulingOptions("best"))


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_schedule() -> None:
    pytest.importorskip("ray")
    from mosaic_onnx.scenarios.search.pool import RayPool

    instance = small_instance(4)
    with RayPool(instance, "local") as pool:
        assert Search(instance, multiplier_bound(instance), pool, SHORT).run() == search(instance, SHORT)


def test_where_processes_cannot_start_the_search_goes_on_here() -> None:
    instance = small_instance(4)
    broken = mock.patch.object(ProcessPool, "_evaluate_in_processes", side_effect=BrokenProcessPool("no main module"))
    with broken, ProcessPool(instance, worker_count=2) as pool:
        assert Search(instance, multiplier_bound(instance), pool, SHORT).run() == search(instance, SHORT)
