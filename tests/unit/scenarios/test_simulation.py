"""The simulator gives what five Gantt charts worked by hand and a plain second simulator give."""

from __future__ import annotations

import dataclasses

import pytest

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.planner.core.request import PlacedSlice
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Policy, Schedule
from mosaic_onnx.scenarios.simulation.arrivals import Arrivals, periodic_arrivals
from mosaic_onnx.scenarios.simulation.events import INF, Run, simulate_schedule
from mosaic_onnx.scenarios.simulation.frame_work import slice_graphs
from tests.unit.scenarios.builders import chain_profile, instance_of, random_instance, random_schedule, whole
from tests.unit.scenarios.slow_simulator import slow_completions

POLICIES: tuple[Policy, ...] = ("priority", "fifo", "edf", "least-slack")


def run(instance: Instance, schedule: Schedule, arrivals: list[list[float]], deadlines: list[float]) -> Run:
    times = Arrivals(tuple(tuple(row) for row in arrivals), tuple(deadlines))
    return simulate_schedule(instance, schedule, slice_graphs(instance, schedule), times, traced=True)


def chart(done: Run) -> list[tuple[int, int, int, int, float, float]]:
    """(unit, model, frame, slice, start, end) in the order of units and starts."""
    spans = [(s.unit, s.model, s.frame, s.slice, s.start_s, s.end_s) for s in done.spans]
    return sorted(spans, key=lambda span: (span[0], span[4]))


def test_two_models_on_one_device_run_by_priority_without_preemption() -> None:
    # a: |0 m1 3|3 m0 5|5 m1 8|8 m0 10|   m0 (first by priority) arrives at 1 while m1 runs, and waits for its end.
    instance = instance_of([(5.0, [chain_profile([(2, 9)])]), (5.0, [chain_profile([(3, 9)])])], drop="never")
    done = run(instance, whole(instance, 0, 0), [[1, 6], [0, 5]], [5, 5])
    assert chart(done) == [(0, 1, 0, 0, 0, 3), (0, 0, 0, 0, 3, 5), (0, 1, 1, 0, 5, 8), (0, 0, 1, 0, 8, 10)]
    assert done.completion_s == ((5, 10), (3, 8))
    assert done.busy_s == (10, 0)


def test_a_frame_that_has_not_begun_when_its_successor_arrives_is_dropped() -> None:
    # a: |0 f0 5|5 f2 10|10 f3 15|   f1 (at 2) has not begun at 4, when f2 comes; f2 has begun when f3 comes, at 6.
    instance = instance_of([(2.0, [chain_profile([(5, 9)])])])
    done = run(instance, whole(instance, 0), [[0, 2, 4, 6]], [6])
    assert chart(done) == [(0, 0, 0, 0, 0, 5), (0, 0, 2, 0, 5, 10), (0, 0, 3, 0, 10, 15)]
    assert done.completion_s == ((5, INF, 10, 15),)


def test_copies_delay_slices_but_occupy_no_device() -> None:
    # Slices on a (host's memory), b (its own; a copy takes 1), a. Frames at 0 and 3.
    # a: |0 f0.0 2| |3 f1.0 5| |6 f0.2 7|    |9 f1.2 10|
    # b:      |3 f0.1 5|  |6 f1.1 8|          copies: 2-3, 5-6, 5-6, 8-9
    instance = instance_of([(3.0, [chain_profile([(2, 9), (9, 2), (1, 9)], copy_s=1)])], drop="never")
    schedule = Schedule(((PlacedSlice((0,), 0), PlacedSlice((1,), 1), PlacedSlice((2,), 0)),), (0,))
    done = run(instance, schedule, [[0, 3]], [3])
    assert chart(done) == [
        (0, 0, 0, 0, 0, 2),
        (0, 0, 1, 0, 3, 5),
        (0, 0, 0, 2, 6, 7),
        (0, 0, 1, 2, 9, 10),
        (1, 0, 0, 1, 3, 5),
        (1, 0, 1, 1, 6, 8),
    ]
    assert done.completion_s == ((7, 10),)


def test_copies_that_occupy_their_device_go_before_slices() -> None:
    # Both models whole on b, whose copies (1 each way) occupy it. m0 and m1 arrive at 0.
    # b: |0 in m0 1|1 in m1 2|2 m0 4|4 out m0 5|5 m1 8|8 out m1 9|
    one, two = (chain_profile([(9, seconds)], copy_s=1, occupying=True) for seconds in (2, 3))
    instance = instance_of([(10.0, [one, two])], drop="never")
    done = run(instance, whole(instance, 1, 1), [[0]], [10])
    assert chart(done) == [(1, 0, 0, 0, 2, 4), (1, 1, 0, 0, 5, 8)]
    assert done.completion_s == ((5,), (9,))


def test_devices_that_share_bandwidth_slow_each_other_while_both_work() -> None:
    # Alone m0 takes 4 on a and m1 2 on b; beside each other a takes twice as long and b half as long again.
    # m1 ends at 3; by then m0 has done 1.5 of 4, the other 2.5 run undisturbed: 5.5.
    meta: dict[str, object] = {"slowdowns": {"a": {"b": 2.0}, "b": {"a": 1.5}}}
    one, two = chain_profile([(4, 9)], meta=meta), chain_profile([(9, 2)])
    instance = instance_of([(10.0, [one, two])], drop="never")
    done = run(instance, whole(instance, 0, 1), [[0]], [10])
    assert chart(done) == [(0, 0, 0, 0, 0, 5.5), (1, 1, 0, 0, 0, 3)]


def test_configurations_of_one_unit_exclude_each_other() -> None:
    devices = (Device("a", meta={"unit": "core"}), Device("b", meta={"unit": "core"}))
    profiles = [chain_profile([row], devices=devices) for row in ((4, 9), (9, 2))]
    instance = instance_of([(10.0, profiles)])
    assert instance.unit_names == ("core",)
    assert run(instance, whole(instance, 0, 1), [[0]], [10]).completion_s == ((4,), (6,))


def test_earliest_deadline_goes_first_where_priorities_say_otherwise() -> None:
    instance = instance_of([(9.0, [chain_profile([(2, 9)])]), (4.0, [chain_profile([(2, 9)])])])
    for policy, completions in (("priority", ((2,), (4,))), ("edf", ((4,), (2,)))):
        assert run(instance, whole(instance, 0, 0, policy=policy), [[0], [0]], [9, 4]).completion_s == completions


def test_late_binding_sends_a_slice_where_it_ends_first() -> None:
    instance = instance_of([(10.0, [chain_profile([(2, 3)]), chain_profile([(2, 3)])])])
    schedule = dataclasses.replace(whole(instance, 0, 0), late_binding=True, policy="least-slack")
    done = run(instance, schedule, [[0]], [10])
    assert chart(done) == [(0, 0, 0, 0, 0, 2), (1, 1, 0, 0, 0, 3)]


def random_case(seed: int) -> tuple[Instance, Schedule, list[list[float]], list[float]] | None:
    instance = random_instance(seed)
    schedule = random_schedule(instance, seed, POLICIES[seed % 4])
    if schedule is None:
        return None
    times = periodic_arrivals(instance.scenario, 0.5 + seed % 3)
    arrivals = [list(row[: 3 + seed % 4]) for row in times.arrival_s]
    return instance, schedule, arrivals, list(times.deadline_s)


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_it_agrees_with_the_slow_simulator_on_random_scenarios(count: int) -> None:
    compared = seed = 0
    while compared < count:
        seed += 1
        case = random_case(seed)
        if case is None:
            continue
        compared += 1
        fast = run(*case).completion_s
        assert [list(row) for row in fast] == slow_completions(*case), f"seed {seed}"


def test_one_frame_of_one_chain_takes_what_the_planner_says() -> None:
    compared = 0
    for seed in range(300):
        instance = random_instance(seed, chain=True)
        schedule = random_schedule(instance, seed)
        if schedule is None:
            continue
        for model, proposal in zip(instance.models, schedule.proposals, strict=True):
            if model.table.switch_s.any():  # the planner switches levels while inputs are on the way
                continue
            alone = dataclasses.replace(
                instance,
                scenario=dataclasses.replace(instance.scenario, groups=(instance.groups[model.group],)),
                models=(dataclasses.replace(model, group=0),),
            )
            done = run(alone, Schedule((proposal,), (0,)), [[0.0]], [1.0])
            assert done.completion_s[0][0] == simulate(model.table, proposal, "concurrent").seconds
            compared += 1
    assert compared > 100


def test_jitter_is_the_same_for_every_scheduler_and_never_reorders_frames() -> None:
    instance = instance_of([(2.0, [chain_profile([(1, 1)])])])
    group = dataclasses.replace(instance.groups[0], jitter_s=5.0)
    scenario = dataclasses.replace(instance.scenario, groups=(group,))
    one = periodic_arrivals(scenario, 1.0, seed=3)
    assert one == periodic_arrivals(scenario, 1.0, seed=3)
    assert one != periodic_arrivals(scenario, 1.0, seed=4)
    assert list(one.arrival_s[0]) == sorted(one.arrival_s[0])
    assert all(time - 2 * n >= 0 for n, time in enumerate(one.arrival_s[0]))


def test_profiles_of_different_devices_do_not_share_a_scenario() -> None:
    other = chain_profile([(1, 1)], devices=(Device("a"), Device("c")))
    with pytest.raises(ModelError, match="different devices"):
        instance_of([(1.0, [chain_profile([(1, 1)]), other])])
