"""The times around slices: as profiles name them, as the simulation counts them, as served frames tell them."""

from __future__ import annotations

import dataclasses

import pytest

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.pipeline.site.handovers import measured_handovers, undisturbed_mean
from mosaic_onnx.planner.core.request import PlacedSlice
from mosaic_onnx.scenarios.handover import Handover
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.serving.frame import Frame, SliceSpan
from mosaic_onnx.scenarios.simulation.arrivals import Arrivals
from mosaic_onnx.scenarios.simulation.events import simulate_schedule
from mosaic_onnx.scenarios.simulation.slice_graph import slice_graphs
from tests.unit.scenarios.builders import chain_profile, instance_of, whole

META: dict[str, object] = {
    "handovers": {"a": {"turn_s": 1.0, "arrival_s": 2.0}, "b": {"turn_s": 0.25, "arrival_s": 9.0, "wake_s": 0.5}}
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
        ({"c": {}}, "handovers.c names no device"),
        ({"a": {"pause_s": 1.0}}, "handovers.a.pause_s is not known"),
        ({"a": {"turn_s": -1.0}}, "handovers.a.turn_s: -1.0 is not a number of seconds from 0 on"),
        ({"a": {"turn_s": float("nan")}}, "handovers.a.turn_s: nan is not"),
        ({"a": 3}, "handovers.a: 3 is not an object"),
        ([], "handovers: .* is not an object"),
    ],
)
def test_what_no_unit_can_take_is_refused(value: object, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        instance_of([(1.0, [chain_profile([(1, 1)], meta={"handovers": value})])])


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
    found = measured_handovers(frames(*served), {"a": "core0"})
    assert found["a"].turn_s == pytest.approx(0.2)
    assert found["a"].arrival_s == pytest.approx(0.3)  # 0.5 in all, of which a turn is 0.2
    assert found["a"].wake_s == 0.0


def test_a_unit_that_ran_nothing_has_the_means_of_the_others() -> None:
    served = frames(*((float(start), SliceSpan(0, "a", start + 0.5, start + 0.7)) for start in range(10)))
    found = measured_handovers(served, {"a": "core0", "b": "core1"})
    assert found["b"] == found["a"] == Handover(0.0, pytest.approx(0.5), 0.0)


def test_the_end_of_a_slice_elsewhere_tells_how_long_a_unit_takes_to_wake() -> None:
    served = []
    for start in range(0, 60, 10):
        frame = Frame("g/m", start, float(start), start + 9.0)
        frame.spans = (SliceSpan(0, "a", start, start + 2.0), SliceSpan(1, "b", start + 2.25, start + 3.0))
        served.append(frame)
    assert measured_handovers(served, {"a": "a", "b": "b"})["b"].wake_s == pytest.approx(0.25)


def test_a_time_of_several_times_the_median_does_not_count() -> None:
    assert undisturbed_mean([1.0, 1.0, 1.0, 2.0, 50.0]) == pytest.approx(1.25)
