"""XRBench's score and the least period multiplier, on runs whose figures are known."""

from __future__ import annotations

import dataclasses
import math

import pytest

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.simulation.arrivals import Arrivals
from mosaic_onnx.scenarios.simulation.events import INF, Run
from mosaic_onnx.scenarios.simulation.figures import group_figures
from mosaic_onnx.scenarios.simulation.multiplier import PRECISION, ScheduleEvaluator
from mosaic_onnx.scenarios.simulation.score import is_satisfied, model_score, score
from tests.unit.scenarios.builders import chain_profile, instance_of, whole


def instance(*periods: float) -> Instance:
    return instance_of([(period, [chain_profile([(0.01, 0.02)])]) for period in periods])


def run(*completions: tuple[float, ...]) -> Run:
    arrivals = Arrivals(tuple(tuple(range(len(row))) for row in completions), (0.5,) * len(completions))
    return Run(arrivals, completions, (0.0, 0.0))


def test_a_frame_at_its_deadline_counts_half_and_a_millisecond_decides() -> None:
    assert model_score(run((0.5,)), instance(1.0), 0) == 0.5
    assert model_score(run((0.499,)), instance(1.0), 0) == pytest.approx(1 / (1 + math.exp(-15)))
    assert model_score(run((0.501,)), instance(1.0), 0) == pytest.approx(1 / (1 + math.exp(15)))


def test_a_dropped_frame_lowers_the_mean_and_the_share() -> None:
    assert model_score(run((0.0, INF, 2.0, 3.0)), instance(1.0), 0) == pytest.approx(0.75 * 0.75)


def test_the_score_is_the_weighted_mean_over_models() -> None:
    two = instance(1.0, 1.0)
    done = run((0.0, 1.0), (INF, INF))
    assert score(done, two) == pytest.approx(50.0)
    groups = (dataclasses.replace(two.groups[0], weight=3.0), two.groups[1])
    weighted = dataclasses.replace(two, scenario=dataclasses.replace(two.scenario, groups=groups))
    assert score(done, weighted) == pytest.approx(75.0)


def test_a_group_that_drops_more_than_it_allows_is_not_satisfied() -> None:
    one = instance(1.0)
    done = run((*(0.0 + number for number in range(99)), INF))
    assert is_satisfied(done, one)
    for allowed, expected in ((0.01, True), (0.005, False), (0.0, False)):
        group = dataclasses.replace(one.groups[0], allowed_drop_share=allowed)
        limited = dataclasses.replace(one, scenario=dataclasses.replace(one.scenario, groups=(group,)))
        assert is_satisfied(done, limited) is expected


def test_figures_count_late_and_dropped_frames() -> None:
    figures = group_figures(run((0.25, 1.75, INF, 3.25)), instance(1.0))[0]
    assert (figures.miss_share, figures.drop_share) == (0.5, 0.25)
    assert figures.mean_makespan_s == pytest.approx((0.25 + 0.75 + 0.25) / 3)


def test_one_model_alone_needs_its_latency_and_a_fifth_of_a_millisecond() -> None:
    alone = instance(0.02)  # 10 ms each: satisfied where the deadline is 0.196 ms after the end
    evaluator = ScheduleEvaluator(alone, whole(alone, 0))
    least = evaluator.least_multiplier(0.1)
    needed = (0.01 + math.log(0.95 / 0.05) / 15 / 1e3) / 0.02
    assert needed <= least <= needed * PRECISION
    assert evaluator.satisfies(least)


def test_jitter_beyond_every_deadline_is_satisfied_by_longer_periods_only() -> None:
    alone = instance(0.02)
    group = dataclasses.replace(alone.groups[0], jitter_s=0.5)
    shaken = dataclasses.replace(alone, scenario=dataclasses.replace(alone.scenario, groups=(group,)))
    assert ScheduleEvaluator(shaken, whole(shaken, 0)).least_multiplier(0.1) > 0.51


def test_slices_that_break_a_cap_together_are_refused() -> None:
    from mosaic_onnx.core.devices import Device

    devices = (Device("a", memory_bytes=1), Device("b"))
    two = instance_of([(1.0, [chain_profile([(0.01, 0.02)], devices=devices)] * 2)])
    with pytest.raises(InfeasibleError, match="together"):
        ScheduleEvaluator(two, whole(two, 0, 0))
    assert ScheduleEvaluator(two, whole(two, 0, 1)).satisfies(1.0)
