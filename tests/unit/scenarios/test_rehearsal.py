"""The times of slices in company: the runs of a served schedule, less what other devices cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mosaic_onnx.pipeline.site.rehearsal import _raised, undisturbed_seconds
from mosaic_onnx.scenarios.serving.frame import Frame, SliceSpan
from mosaic_onnx.scenarios.solve import OURS, SchedulingOptions, judged_again, schedule_instance
from tests.unit.scenarios.builders import chain_profile, instance_of


def frame(model: str, *spans: SliceSpan) -> Frame:
    made = Frame(model, 0, 0.0, 10.0)
    made.spans, made.completion_s = spans, spans[-1].end_s
    return made


def test_a_device_that_works_beside_a_slice_for_half_of_its_time_costs_half_of_its_slow_down() -> None:
    frames = [
        frame("g/one", SliceSpan(0, "a", 0.0, 1.0), SliceSpan(1, "b", 4.0, 5.0)),
        frame("g/two", SliceSpan(0, "b", 0.5, 2.0), SliceSpan(1, "a", 6.0, 6.5)),
    ]
    found = undisturbed_seconds(frames, {"a": {"b": 1.4}})
    assert found["g/one", 0] == [pytest.approx(1.0 / 1.2)]
    assert found["g/one", 1] == [1.0]  # nothing slows b
    assert found["g/two", 1] == [0.5]  # b is idle meanwhile


def test_the_runs_of_a_frame_that_did_not_complete_do_not_count() -> None:
    lost = frame("g/one", SliceSpan(0, "a", 0.0, 1.0))
    lost.completion_s = None
    assert undisturbed_seconds([lost], {}) == {}


def test_all_costs_of_a_state_are_raised_alike() -> None:
    profile = chain_profile([(1.0, 2.0), (3.0, 4.0)])
    first, second = profile.states
    raised = _raised(profile, {first: 1.5})
    for before, after in zip(profile.layers, raised.layers, strict=True):
        assert after.cost[first].seconds == 1.5 * before.cost[first].seconds  # type: ignore[union-attr]
        assert after.cost[second] == before.cost[second]
    assert raised.meta["company"] == {first: 1.5}


def test_under_other_costs_a_baseline_that_is_better_takes_the_place_of_ours() -> None:
    before = instance_of([(1.0, [chain_profile([(0.1, 0.4), (0.1, 0.4)])])])
    scheduled = schedule_instance(before, SchedulingOptions("best-mapping"))
    with_baselines = replace(scheduled, scheduler=OURS, baselines={"best-mapping": 1.0, "edf": 1.0})
    after = instance_of([(1.0, [chain_profile([(0.4, 0.1), (0.4, 0.1)])])])
    again = judged_again(after, with_baselines, SchedulingOptions())
    assert again.multiplier == min(again.baselines.values())
    assert again.multiplier < scheduled.multiplier * 1.05
