"""Planning with what the chosen slices really take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Cost, MeasuredSlice, Profile, ProfileLayer
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.calibrate import ALONE, IN_PLAN, learn
from mosaic_onnx.planning.feedback import FeedbackLoop, unmeasured
from mosaic_onnx.planning.planning_time import PlanningTime
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.profiling.measure_slices import Choice, SegmentsMeasured


def profile(seconds: Sequence[Sequence[float]]) -> Profile:
    """A chain; [layer][device] seconds on devices a, b, … that share host's memory."""
    names = "ab"[: len(seconds[0])]
    layers = tuple(
        ProfileLayer(f"l{i}", (f"t{i}",), (f"t{i + 1}",), {name: Cost(s) for name, s in zip(names, row, strict=True)})
        for i, row in enumerate(seconds)
    )
    tensors = {f"t{i}": 4 for i in range(len(layers) + 1)}
    return Profile("chain", tuple(map(Device, names)), tensors, ("t0",), (f"t{len(layers)}",), layers)


def measuring(factor: float, overhead_s: float, seen: list[list[Choice]], of: Profile) -> FeedbackLoop:
    """Slices take ``factor`` times their layers and ``overhead_s`` more."""

    def measure(choices: Sequence[Choice]) -> SegmentsMeasured:
        seen.append(list(choices))
        found = []
        for first, last, state in choices:
            costs = [layer.cost[state] for layer in of.layers[first : last + 1]]
            total = sum(cost.seconds for cost in costs if cost is not None)
            found.append(MeasuredSlice(first, last, state, factor * total + overhead_s))
        return SegmentsMeasured(tuple(found))

    return FeedbackLoop(measure, Request())


def test_a_plan_whose_cuts_cost_more_than_they_gain_is_given_up() -> None:
    given = profile([[1.0, 0.9], [0.9, 1.0], [1.0, 0.9], [0.9, 1.0]])
    refined = measuring(1.0, 0.5, [], given)(given)
    assert len(refined.plan.slices) == 1
    assert refined.is_settled


def test_a_plan_that_measures_as_predicted_is_kept_after_one_round() -> None:
    given = profile([[1.0, 9.0], [9.0, 1.0]])
    seen: list[list[Choice]] = []
    refined = measuring(1.0, 0.0, seen, given)(given)
    assert seen == [[(0, 0, "a"), (1, 1, "b")]]
    assert (refined.round_count, refined.is_settled) == (1, True)
    assert refined.plan.predicted.seconds == 2.0


def noisy_parts() -> Profile:
    """Device a takes 2 s for both layers; each of them alone once measured less than it takes."""
    given = profile([[1.0, 9.0], [1.0, 9.0]])
    parts = (MeasuredSlice(0, 0, "a", 0.8), MeasuredSlice(1, 1, "a", 0.8), MeasuredSlice(0, 1, "a", 2.0))
    return replace(given, segments=parts)


def test_a_cut_inside_one_device_is_not_made_however_little_its_parts_were_measured_to_take() -> None:
    given = noisy_parts()
    assert len(plan_profile(given).slices) == 2
    refined = measuring(1.0, 0.0, [], given)(given)
    assert [one.layers for one in refined.plan.slices] == [(0, 1)]
    assert refined.plan.predicted.seconds == 2.0
    assert refined.plan.bound is not None
    assert refined.plan.bound.value <= 2.0


def test_a_cut_inside_one_device_stays_where_slices_are_asked_for() -> None:
    given = noisy_parts()
    refined = replace(measuring(1.0, 0.0, [], given), request=Request(min_slice_count=2))(given)
    assert len(refined.plan.slices) == 2


def test_a_cut_inside_one_device_stays_where_the_whole_does_not_fit() -> None:
    given = noisy_parts()
    layers = tuple(replace(one, parameter_bytes=60) for one in given.layers)
    devices = (replace(given.devices[0], slice_memory_bytes=100), given.devices[1])
    given = replace(given, layers=layers, devices=devices)
    refined = measuring(1.0, 0.0, [], given)(given)
    assert [one.layers for one in refined.plan.slices] == [(0,), (1,)]


def test_the_prediction_is_what_was_measured() -> None:
    given = profile([[1.0, 9.0], [9.0, 1.0]])
    refined = measuring(1.5, 0.0, [], given)(given)
    assert refined.plan.predicted.seconds == 3.0


def test_a_slice_that_cannot_be_measured_is_not_asked_for_again() -> None:
    asked: list[list[Choice]] = []

    def refuse(choices: Sequence[Choice]) -> SegmentsMeasured:
        asked.append(list(choices))
        return SegmentsMeasured()

    refined = FeedbackLoop(refuse, Request())(profile([[1.0], [1.0]]))
    assert asked == [[(0, 1, "a")]]
    assert refined.is_settled


def test_a_layer_that_makes_its_slice_fail_is_taken_from_the_device() -> None:
    """Layers 1 and 2 must not be in one slice of device a."""
    given = profile([[1.0, 2.0]] * 4)

    def measure(choices: Sequence[Choice]) -> SegmentsMeasured:
        bad = {choice: "2 after 1" for choice in choices if choice[2] == "a" and choice[0] <= 1 and choice[1] >= 2}
        good = tuple(MeasuredSlice(*each, float(each[1] - each[0] + 1)) for each in choices if each not in bad)
        return SegmentsMeasured(good, bad)

    refined = FeedbackLoop(measure, Request())(given)
    assert refined.is_settled
    assert refined.profile.layers[2].reasons == {"a": "together with the layers before it: 2 after 1"}
    assert not measure([(one.layers[0], one.layers[-1], one.state) for one in refined.plan.slices]).reasons
    assert [layer for layer in refined.profile.layers if "a" not in layer.cost] == [refined.profile.layers[2]]


def test_a_layer_that_no_device_runs_with_its_neighbours_is_named() -> None:
    def refuse(choices: Sequence[Choice]) -> SegmentsMeasured:
        return SegmentsMeasured((), dict.fromkeys(choices, "it breaks"))

    with pytest.raises(InfeasibleError, match="l0"):
        FeedbackLoop(refuse, Request())(profile([[1.0], [1.0]]))


def test_rounds_end_at_their_limit_and_say_so() -> None:
    given = profile([[1.0, 1.0]] * 6)
    refined = FeedbackLoop(measuring(10.0, 0.0, [], given).measure, Request(), round_limit=1)(given)
    assert refined.round_count == 1
    assert refined.is_settled is (unmeasured(refined.profile, refined.plan) == [])


def test_slices_that_cost_more_in_company_are_given_up() -> None:
    """Alone every slice keeps its layers' word; in any plan of several it takes a second more."""
    given = profile([[1.0, 1.9], [1.9, 1.0]])
    alone = measuring(1.0, 0.0, [], given)
    ran: list[Plan] = []

    def run(plan: Plan) -> Sequence[float]:
        if len(plan.slices) == 1:
            return []
        ran.append(plan)
        return [one.end_s - one.start_s + 1.0 for one in plan.slices]

    refined = FeedbackLoop(alone.measure, Request(), run)(given)
    assert [len(plan.slices) for plan in ran] == [2]
    assert len(refined.plan.slices) == 1
    assert refined.is_settled
    assert all(one.meta == {IN_PLAN: True, ALONE: 1.0} for one in refined.profile.segments if one.first == one.last)


def test_a_plan_that_runs_as_predicted_is_kept() -> None:
    given = profile([[1.0, 9.0], [9.0, 1.0]])
    alone = measuring(1.0, 0.0, [], given)
    refined = FeedbackLoop(alone.measure, Request(), lambda plan: [one.end_s - one.start_s for one in plan.slices])(
        given
    )
    assert len(refined.plan.slices) == 2
    assert refined.is_settled


def branches() -> Profile:
    """Two branches, their layers listed in turn: device a is best at one, b at the other."""
    rows = [(1.0, 9.0), (9.0, 1.0), (1.0, 9.0), (9.0, 1.0)]
    reads = ["x", "x", "t0", "t1"]
    layers = tuple(
        ProfileLayer(f"l{i}", (reads[i],), (f"t{i}",), {"a": Cost(a), "b": Cost(b)}) for i, (a, b) in enumerate(rows)
    )
    tensors = dict.fromkeys(["x", "t0", "t1", "t2", "t3"], 4)
    return Profile("branches", (Device("a"), Device("b")), tensors, ("x",), ("t2", "t3"), layers)


def test_a_plan_that_no_segment_stands_for_is_run_and_held_against_plans_in_list_order() -> None:
    given = branches()
    ran: list[Plan] = []

    def run(plan: Plan) -> Sequence[float]:
        ran.append(plan)
        return [len(one.layers) + 0.1 for one in plan.slices]

    refined = FeedbackLoop(measuring(1.0, 0.1, [], given).measure, Request(), run)(given)
    assert [one.layers for one in ran[0].slices] in ([(0, 2), (1, 3)], [(1, 3), (0, 2)])
    assert any(all(len(one.layers) == 1 for one in plan.slices) for plan in ran[1:])
    assert sorted(one.layers for one in refined.plan.slices) == [(0, 2), (1, 3)]


def test_a_plan_that_cannot_be_run_is_not_given_up_for_one_in_list_order() -> None:
    given = branches()
    refined = FeedbackLoop(measuring(1.0, 0.1, [], given).measure, Request(), lambda plan: [])(given)
    assert sorted(one.layers for one in refined.plan.slices) == [(0, 2), (1, 3)]


def test_the_cost_of_a_cut_is_the_median_excess_of_measured_slices() -> None:
    given = profile([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    learned = learn(
        given, [MeasuredSlice(0, 0, "a", 1.1), MeasuredSlice(0, 1, "a", 2.3), MeasuredSlice(1, 1, "a", 1.2)]
    )
    a, b = learned.devices
    assert abs(a.slice_seconds - 0.2) < 1e-12
    assert b.slice_seconds == 0.0


def test_slices_that_are_faster_than_their_layers_make_no_cut_free_of_less_than_nothing() -> None:
    given = profile([[1.0], [1.0], [1.0]])
    assert learn(given, [MeasuredSlice(0, 1, "a", 0.5)]).devices[0].slice_seconds == 0.0


def test_the_profile_that_is_refined_stays_as_it_was() -> None:
    given = profile([[1.0, 9.0], [9.0, 1.0]])
    measuring(1.5, 0.1, [], given)(given)
    assert given == profile([[1.0, 9.0], [9.0, 1.0]])


def test_what_company_costs_is_added_to_slices_that_were_measured_alone_only() -> None:
    given = profile([[1.0, 2.0]] * 4)
    alone = learn(given, [MeasuredSlice(0, 0, "a", 1.0), MeasuredSlice(1, 1, "a", 1.0), MeasuredSlice(0, 3, "a", 4.0)])
    ran = learn(alone, [MeasuredSlice(0, 0, "a", 1.5, meta={IN_PLAN: True})])
    assert {(one.first, one.last): one.seconds for one in ran.segments} == {(0, 0): 1.5, (1, 1): 1.5, (0, 3): 4.0}
    again = learn(ran, [MeasuredSlice(0, 0, "a", 1.25, meta={IN_PLAN: True})])
    assert {(one.first, one.last): one.seconds for one in again.segments} == {(0, 0): 1.25, (1, 1): 1.25, (0, 3): 4.0}
    noisy = learn(again, [MeasuredSlice(0, 0, "a", 9.0, meta={IN_PLAN: True})])
    assert noisy.segments == again.segments


class SlowPlanner:
    """Plans, and uses up all the time that it is given, by a clock of its own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.asked_s: list[float] = []

    def __call__(self, of: Profile, request: Request) -> Plan:
        self.now_s += request.time_limit_s
        self.asked_s.append(request.time_limit_s)
        return plan_profile(of, replace(request, time_limit_s=10.0))

    def loop(self, given: Profile, limit_s: float, **options: int) -> None:
        """Run a feedback on devices of which ``a`` loses one layer after the other."""

        def measure(choices: Sequence[Choice]) -> SegmentsMeasured:
            sound = tuple(MeasuredSlice(*choice, 1.0) for choice in choices if choice[2] == "b")
            return SegmentsMeasured(sound, {choice: "it fails" for choice in choices if choice[2] == "a"})

        planning = PlanningTime(lambda: self.now_s)
        request = Request(time_limit_s=limit_s, min_slice_count=options.pop("min_slice_count", 0))
        FeedbackLoop(measure, request, plan=self, planning=planning, **options)(given)


def test_all_plans_of_a_loop_together_take_no_longer_than_one_time_limit() -> None:
    planner = SlowPlanner()
    planner.loop(profile([[1.0, 1.5]] * 6), 10.0)
    assert planner.asked_s[:3] == [5.0, 2.5, 1.25]
    assert len(planner.asked_s) > 6
    assert sum(planner.asked_s) <= 10.0 + 1e-9


def test_a_plan_that_no_other_follows_may_take_all_the_time() -> None:
    planner = SlowPlanner()
    planner.loop(profile([[1.0, 1.5]] * 2), 10.0, round_limit=0)
    assert planner.asked_s == [10.0]


def test_twenty_five_layers_that_must_be_three_slices_are_planned_within_one_time_limit() -> None:
    planner = SlowPlanner()
    planner.loop(profile([[1.0 + layer % 3, 1.5] for layer in range(25)]), 10.0, min_slice_count=3)
    assert len(planner.asked_s) > 2
    assert sum(planner.asked_s) <= 10.0 + 1e-9
