"""The times around slices: as profiles name them, as the simulation counts them, as served frames tell them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.pipeline.site.unit_times import measured_unit_times, undisturbed_mean
from mosaic_onnx.planner.core.request import PlacedSlice
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.serving.frame import Frame, SliceSpan
from mosaic_onnx.scenarios.simulation.arrivals import Arrivals
from mosaic_onnx.scenarios.simulation.events import simulate_schedule
from mosaic_onnx.scenarios.simulation.frame_work import slice_graphs
from tests.unit.scenarios.builders import chain_profile, instance_of, whole

META: dict[str, object] = {
    "unit_times": {"a": {"turn_s": 1.0, "arrival_s": 2.0}, "b": {"turn_s": 0.25, "arrival_s": 9.0, "wake_s": 0.5}}
}


def completions(instance: Instance, schedule: Schedule) -> tuple[tuple[float, ...], ...]:
    arrivals = Arrivals(((0.0,),), (100.0,))
    return simulate_schedule(instance, schedule, slice_graphs(instance, schedule), arrivals).completion_s


def test_a_unit_that_is_busy_makes_up_for_the_way_of_a_request_but_not_for_its_turns() -> None:
    # Both requests stand in the queue at 2; m0 ends at 2 + 1 + 4, m1 after another turn and 3.
    instance = instance_of([(100.0, [chain_profile([(4, 9)], meta=META), chain_profile([(3, 9)], meta=META)])])
    assert completions(instance, whole(instance, 0, 0)) == ((7.0,), (11.0,))


def test_a_slice_whose_input_comes_from_another_unit_waits_for_its_unit_to_wake() -> None:
    # On a from 2 to 7; b has it at 7.5, turns for 0.25 and runs for 3.
    instance = instance_of([(100.0, [chain_profile([(4, 9), (9, 3)], meta=META)])])
    schedule = Schedule(((PlacedSlice((0,), 0), PlacedSlice((1,), 1)),), (0,))
    assert completions(instance, schedule) == ((10.75,),)


def test_two_slices_on_one_unit_need_no_waking() -> None:
    instance = instance_of([(100.0, [chain_profile([(4, 9), (3, 9)], meta=META)])])
    schedule = Schedule(((PlacedSlice((0,), 0), PlacedSlice((1,), 0)),), (0,))
    assert completions(instance, schedule) == ((2.0 + 5.0 + 4.0,),)


def test_late_binding_counts_the_turns_too() -> None:
    instance = instance_of([(100.0, [chain_profile([(4, None)], meta=META)])])
    schedule = dataclasses.replace(whole(instance, 0), late_binding=True, policy="least-slack")
    assert completions(instance, schedule) == ((7.0,),)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"c": {}}, "unit_times.c names no device"),
        ({"a": {"pause_s": 1.0}}, "unit_times.a.pause_s is not known"),
        ({"a": {"turn_s": -1.0}}, "unit_times.a.turn_s: -1.0 is not a number from 0 on"),
        ({"a": {"turn_s": float("nan")}}, "unit_times.a.turn_s: nan is not"),
        ({"a": 3}, "unit_times.a: 3 is not an object"),
        ([], "unit_times: .* is not an object"),
    ],
)
def test_what_no_unit_can_take_is_refused(value: object, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        instance_of([(1.0, [chain_profile([(1, 1)], meta={"unit_times": value})])])


def frames(*spans: tuple[float, SliceSpan]) -> list[Frame]:
    """Frames of one slice each, by their arrivals."""
    made = []
    for number, (arrival_s, span) in enumerate(spans):
        frame = Frame("g/m", number, arrival_s, arrival_s + 10.0)
        frame.spans, frame.completion_s = (span,), span.end_s
        made.append(frame)
    return made


def test_waits_tell_turns_where_the_unit_was_busy_and_the_way_of_a_request_where_it_was_idle() -> None:
    served = []
    for start in range(0, 100, 10):  # two requests at once: one finds the unit idle, one waits for it
        served += [
            (float(start), SliceSpan(0, "a", start + 0.5, start + 3.0)),
            (float(start), SliceSpan(0, "a", start + 3.2, start + 6.0)),
        ]
    found = measured_unit_times(frames(*served), {"a": "core0"})
    assert found["a"].turn_s == pytest.approx(0.2)
    assert found["a"].arrival_s == pytest.approx(0.3)  # 0.5 in all, of which a turn is 0.2
    assert found["a"].wake_s == 0.0


def test_a_unit_that_ran_nothing_has_the_means_of_the_others() -> None:
    served = frames(*((float(start), SliceSpan(0, "a", start + 0.5, start + 0.7)) for start in range(10)))
    found = measured_unit_times(served, {"a": "core0", "b": "core1"})
    assert found["b"] == found["a"]
    assert (found["b"].turn_s, found["b"].arrival_s) == (0.0, pytest.approx(0.5))


def test_the_end_of_a_slice_elsewhere_tells_how_long_a_unit_takes_to_wake() -> None:
    served = []
    for start in range(0, 60, 10):
        frame = Frame("g/m", start, float(start), start + 9.0)
        frame.spans = (SliceSpan(0, "a", start, start + 2.0), SliceSpan(1, "b", start + 2.25, start + 3.0))
        served.append(frame)
    assert measured_unit_times(served, {"a": "a", "b": "b"})["b"].wake_s == pytest.approx(0.25)


def test_a_time_of_several_times_the_median_does_not_count() -> None:
    assert undisturbed_mean([1.0, 1.0, 1.0, 2.0, 50.0]) == pytest.approx(1.25)


def test_slices_that_vary_lengthen_what_waits_for_the_last_of_two_models() -> None:
    # Of two normal times of mean 1 and deviation 0.2, the longer one takes 1 + 0.2 / sqrt(pi) on average.
    meta: dict[str, object] = {"unit_times": {"a": {"spread": 0.2}, "b": {"spread": 0.2}}}
    profiles = [chain_profile([(1, 9)], meta=meta), chain_profile([(9, 1)], meta=meta)]
    instance = instance_of([(100.0, profiles)])
    schedule = whole(instance, 0, 1)
    arrivals = Arrivals((tuple(100.0 * frame for frame in range(2000)),), (100.0,))
    done = simulate_schedule(instance, schedule, slice_graphs(instance, schedule), arrivals).completion_s
    one, two = np.array(done) - np.array(arrivals.arrival_s[0])
    assert one.mean() == pytest.approx(1.0, abs=0.02)
    assert two.std() == pytest.approx(0.2, abs=0.02)
    assert np.maximum(one, two).mean() == pytest.approx(1.0 + 0.2 / np.sqrt(np.pi), abs=0.02)


def test_the_spread_of_slices_is_that_about_each_slices_own_mean() -> None:
    served = frames(*((4.0 * n, SliceSpan(n % 2, "a", 4.0 * n, 4.0 * n + 1 + n % 2 + (n // 2) % 2)) for n in range(40)))
    # Slice 0 takes 1 or 2, slice 1 takes 2 or 3: deviations of a third and of a fifth of the means.
    spread = measured_unit_times(served, {"a": "a"})["a"].spread
    assert spread == pytest.approx(np.sqrt((1 / 9 + 1 / 25) / 2))
