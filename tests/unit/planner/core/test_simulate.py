"""The simulator: each sentence of the format, and agreement with an evaluator that shares no code with it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.profiles import Cost, MeasuredSlice, Profile, ProfileLayer, SwitchCost, TransferCost
from mosaic_onnx.planner.core.request import PlacedSlice, Proposal
from mosaic_onnx.planner.core.simulate import Timeline, simulate, value
from tests.unit.files.test_plan_file import tiny as tiny_plan
from tests.unit.files.test_profile_file import tiny as tiny_profile
from tests.unit.planner.random_profiles import random_profile
from tests.unit.planner.slow_evaluator import evaluate


def random_proposal(draw: random.Random, profile: Profile) -> Proposal:
    """Slices of a random topological order; layers land where they can run as a rule."""
    waiting = list(range(len(profile.layers)))
    made = set(profile.inputs)
    order: list[int] = []
    while waiting:
        ready = [layer for layer in waiting if set(profile.layers[layer].inputs) <= made]
        layer = draw.choice(ready)
        waiting.remove(layer)
        made |= set(profile.layers[layer].outputs)
        order.append(layer)
    slices: list[PlacedSlice] = []
    for layer in order:
        can = [s for s, state in enumerate(profile.states) if profile.layers[layer].cost.get(state) is not None]
        state = draw.choice(can) if can and draw.random() < 0.95 else draw.randrange(len(profile.states))
        if slices and (slices[-1].state == state or draw.random() < 0.3) and draw.random() < 0.9:
            slices[-1] = PlacedSlice((*slices[-1].layers, layer), slices[-1].state)
        else:
            slices.append(PlacedSlice((layer,), state))
    return tuple(slices)


@settings(max_examples=600, deadline=None)
@given(st.integers(0, 2**32), st.booleans(), st.integers(1, 7), st.integers(1, 4), st.booleans())
def test_the_simulator_agrees_with_an_independent_evaluator(
    seed: int, chain: bool, layer_count: int, state_count: int, concurrent: bool
) -> None:
    draw = random.Random(seed)
    profile = random_profile(seed, chain=chain, layer_count=layer_count, state_count=state_count, groups=seed % 4 == 0)
    schedule = "concurrent" if concurrent else "sequential"
    table = cost_table(profile)
    for _ in range(4):
        proposal = random_proposal(draw, profile)
        outcome = evaluate(profile, [(layers, profile.states[state]) for layers, state in proposal], schedule)
        if outcome is None:
            with pytest.raises(InfeasibleError):
                simulate(table, proposal, schedule)
            continue
        timeline = simulate(table, proposal, schedule)
        assert timeline.seconds == pytest.approx(outcome.seconds)
        assert timeline.joules == (None if outcome.joules is None else pytest.approx(outcome.joules))
        assert timeline.interval_seconds == pytest.approx(outcome.interval_seconds)
        assert len(timeline.copies) == len(outcome.copies)
        if concurrent:
            assert [start for start, _ in timeline.slice_times] == pytest.approx(outcome.slice_starts)


NPU = Device("npu", io="host")
GPU = Device("gpu")
TPU = Device("tpu")
CPU = Device("cpu")


def both_ways(device: str, seconds: float = 1.0) -> tuple[TransferCost, TransferCost]:
    return TransferCost("host", device, seconds=seconds, joules=10.0), TransferCost(
        device, "host", seconds=seconds, joules=10.0
    )


def profile_of(
    edges: dict[str, tuple[str, ...]], devices: tuple[Device, ...], *copies: TransferCost, outputs: tuple[str, ...]
) -> Profile:
    """Layers that each make one tensor of their own name in 100 s and 1,000 J; what nobody makes is a model input."""
    states = [state for device in devices for state in device.states]
    cost = dict.fromkeys(states, Cost(100.0, 1000.0))
    layers = tuple(ProfileLayer(name, read, (name,), cost) for name, read in edges.items())
    inputs = tuple(dict.fromkeys(t for read in edges.values() for t in read if t not in edges))
    return Profile("p", devices, dict.fromkeys((*inputs, *edges), 1), inputs, outputs, layers, copies=copies)


CHAIN = {"a": ("x",), "b": ("a",), "c": ("b",)}


def run(profile: Profile, *slices: tuple[tuple[int, ...], str], schedule: Any = "sequential") -> Timeline:
    proposal = tuple(PlacedSlice(layers, profile.states.index(state)) for layers, state in slices)
    return simulate(cost_table(profile), proposal, schedule)


def moved(profile: Profile, timeline: Timeline) -> list[tuple[str, str, str]]:
    """(tensor, from, to) of every copy."""
    tensors, names = list(profile.tensor_bytes), [device.name for device in profile.devices]
    return [
        (
            tensors[c.tensor],
            "host" if c.source < 0 else names[c.source],
            "host" if c.destination < 0 else names[c.destination],
        )
        for c in timeline.copies
    ]


def test_a_device_that_no_copy_names_shares_the_memory_of_host() -> None:
    profile = profile_of(CHAIN, (CPU, GPU), outputs=("c",))
    assert moved(profile, run(profile, ((0,), "cpu"), ((1,), "gpu"), ((2,), "cpu"))) == []


def test_a_tensor_read_twice_on_a_resident_device_is_paid_once() -> None:
    profile = profile_of({"a": ("x",), "b": ("x", "a")}, (CPU, GPU), *both_ways("gpu"), outputs=())
    assert moved(profile, run(profile, ((0,), "gpu"), ((1,), "gpu"))) == [("x", "host", "gpu")]


def test_a_host_io_device_brings_everything_in_and_out_for_every_slice() -> None:
    profile = profile_of({"a": ("x",), "b": ("x", "a")}, (CPU, NPU), *both_ways("npu"), outputs=("b",))
    assert moved(profile, run(profile, ((0,), "npu"), ((1,), "npu"))) == [
        ("x", "host", "npu"),
        ("a", "npu", "host"),
        ("x", "host", "npu"),
        ("a", "host", "npu"),
        ("b", "npu", "host"),
    ]


def test_a_tensor_that_leaves_from_the_middle_of_a_slice_is_paid_for() -> None:
    edges = {"a": ("x",), "b": ("a",), "c": ("a", "b")}
    profile = profile_of(edges, (CPU, NPU), *both_ways("npu"), outputs=("c",))
    assert ("a", "npu", "host") in moved(profile, run(profile, ((0, 1), "npu"), ((2,), "cpu")))


def test_a_model_output_is_brought_to_host_once_whoever_else_reads_it_there() -> None:
    profile = profile_of(CHAIN, (CPU, GPU), *both_ways("gpu"), outputs=("a", "c"))
    assert moved(profile, run(profile, ((0,), "gpu"), ((1, 2), "cpu"))).count(("a", "gpu", "host")) == 1


def test_a_direct_copy_is_used_between_resident_devices_even_where_host_has_the_tensor() -> None:
    direct = TransferCost("gpu", "tpu", seconds=1.5)
    edges = {"a": ("x",), "b": ("a",), "c": ("a",)}
    profile = profile_of(edges, (CPU, GPU, TPU), *both_ways("gpu"), *both_ways("tpu"), direct, outputs=("b", "c"))
    timeline = run(profile, ((0,), "gpu"), ((1,), "cpu"), ((2,), "tpu"))
    assert moved(profile, timeline) == [
        ("x", "host", "gpu"),
        ("a", "gpu", "host"),
        ("a", "gpu", "tpu"),
        ("c", "tpu", "host"),
    ]


def test_without_a_direct_entry_the_way_goes_by_host() -> None:
    profile = profile_of(CHAIN, (GPU, TPU), *both_ways("gpu"), *both_ways("tpu"), outputs=("c",))
    hops = moved(profile, run(profile, ((0,), "gpu"), ((1, 2), "tpu")))
    assert hops[1:3] == [("a", "gpu", "host"), ("a", "host", "tpu")]


def test_a_direct_entry_does_not_apply_to_a_device_with_host_io() -> None:
    direct = TransferCost("npu", "gpu"), TransferCost("gpu", "npu")
    profile = profile_of(CHAIN, (NPU, GPU), *both_ways("npu"), *both_ways("gpu"), *direct, outputs=())
    hops = moved(profile, run(profile, ((0,), "npu"), ((1,), "gpu"), ((2,), "npu")))
    assert hops[1:] == [("a", "npu", "host"), ("a", "host", "gpu"), ("b", "gpu", "host"), ("b", "host", "npu")]


LEVELS = Device("gpu", levels=(Level("low"), Level("high")))


def test_a_copy_is_looked_up_by_the_state_of_the_first_reader_there() -> None:
    copies = (
        TransferCost("host", "gpu", seconds=1.0),
        TransferCost("host", "gpu@high", seconds=7.0),
        TransferCost("gpu", "host"),
    )
    profile = profile_of({"a": ("x",), "b": ("x",)}, (LEVELS,), *copies, outputs=())
    assert run(profile, ((0,), "gpu@low"), ((1,), "gpu@high")).copies[0].seconds == 1.0
    assert run(profile, ((0,), "gpu@high"), ((1,), "gpu@low")).copies[0].seconds == 7.0


def test_the_most_exact_entry_between_two_states_wins() -> None:
    big = Device("big", levels=(Level("low"), Level("high")))
    lines = [
        TransferCost("gpu", "big", seconds=1.0),
        TransferCost("gpu@low", "big", seconds=2.0),
        TransferCost("gpu", "big@low", seconds=3.0),
        TransferCost("gpu@low", "big@low", seconds=4.0),
    ]
    profile = profile_of(
        {"a": ("x",), "b": ("a",)}, (LEVELS, big), *both_ways("gpu", 9.0), *both_ways("big"), *lines, outputs=()
    )
    paid = {
        (source, destination): run(profile, ((0,), f"gpu@{source}"), ((1,), f"big@{destination}")).copies[-1].seconds
        for source in ("low", "high")
        for destination in ("low", "high")
    }
    assert paid == {("low", "low"): 4.0, ("high", "low"): 3.0, ("low", "high"): 2.0, ("high", "high"): 1.0}


def test_a_switch_is_charged_against_the_last_slice_that_the_device_ran() -> None:
    switches = (SwitchCost("gpu", "low", "high", 5.0, 50.0),)
    profile = replace(profile_of(CHAIN, (LEVELS, CPU), outputs=()), switches=switches)
    assert run(profile, ((0,), "gpu@low"), ((1,), "cpu"), ((2,), "gpu@high")).seconds == 305.0
    assert run(profile, ((0,), "gpu@high"), ((1,), "cpu"), ((2,), "gpu@low")).seconds == 300.0
    assert run(profile, ((0, 1), "gpu@high"), ((2,), "gpu@high")).joules == 3000.0


def test_a_measured_slice_counts_only_where_it_is_exactly_that_slice() -> None:
    device = replace(CPU, slice_seconds=3.0, slice_joules=2.0)
    segment = MeasuredSlice(0, 1, "cpu", 60.0)
    profile = replace(profile_of(CHAIN, (device,), outputs=()), segments=(segment,))
    assert run(profile, ((0, 1), "cpu"), ((2,), "cpu")).seconds == 60.0 + 103.0
    assert run(profile, ((0, 1, 2), "cpu")).seconds == 303.0
    assert run(profile, ((0, 1), "cpu"), ((2,), "cpu")).joules == 2000.0 + 1002.0


def test_idle_power_is_drawn_over_the_makespan_by_every_device() -> None:
    devices = replace(CPU, idle_w=1.0), replace(GPU, idle_w=2.0)
    profile = profile_of({"a": ("x",), "b": ("x",)}, devices, outputs=())
    assert run(profile, ((0, 1), "cpu")).joules == 2000.0 + 3.0 * 200.0
    assert run(profile, ((0,), "cpu"), ((1,), "gpu"), schedule="concurrent").joules == 2000.0 + 3.0 * 100.0


def test_slices_on_two_devices_overlap_in_a_concurrent_schedule() -> None:
    profile = profile_of({"a": ("x",), "b": ("x",)}, (CPU, GPU), *both_ways("gpu"), outputs=("a", "b"))
    timeline = run(profile, ((0,), "cpu"), ((1,), "gpu"), schedule="concurrent")
    assert timeline.slice_times == [(0.0, 100.0), (1.0, 101.0)]
    assert timeline.seconds == 102.0


def test_a_second_hop_waits_for_the_first_and_other_copies_for_nothing() -> None:
    profile = profile_of(
        {"a": ("x",), "b": ("a", "y", "z")}, (GPU, TPU), *both_ways("gpu"), *both_ways("tpu"), outputs=()
    )
    timeline = run(profile, ((0,), "gpu"), ((1,), "tpu"), schedule="concurrent")
    assert sorted(timeline.copy_times) == [(0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (101.0, 102.0), (102.0, 103.0)]


def test_copies_that_occupy_the_device_wait_for_it() -> None:
    profile = profile_of({"a": ("x", "y"), "b": ("a",)}, (GPU, CPU), *both_ways("gpu"), outputs=("b",))
    profile = replace(profile, copies_occupy_device=True)
    timeline = run(profile, ((0,), "gpu"), ((1,), "cpu"), schedule="concurrent")
    assert timeline.copy_times[:2] == [(0.0, 1.0), (1.0, 2.0)]
    assert timeline.slice_times[0] == (2.0, 102.0)


def test_the_load_of_a_device_is_execution_copies_and_switches() -> None:
    direct = TransferCost("gpu", "tpu", seconds=2.0)
    profile = profile_of(CHAIN, (GPU, TPU), *both_ways("gpu"), *both_ways("tpu", 3.0), direct, outputs=("c",))
    timeline = run(profile, ((0, 1), "gpu"), ((2,), "tpu"))
    assert timeline.load_s == [1.0 + 200.0 + 2.0, 2.0 + 100.0 + 3.0]
    assert value(timeline, "throughput") == 203.0


@pytest.mark.parametrize(
    ("slices", "said"),
    [
        ([((0, 1), "cpu")], "no slice runs layer c"),
        ([((0, 1), "cpu"), ((1, 2), "cpu")], "layer b stands in two slices"),
        ([((0,), "cpu"), ((2,), "cpu"), ((1,), "cpu")], "layer c runs before layer b, which makes its input b"),
        ([((0, 1, 2), "gpu")], "gpu cannot run layer b"),
        ([((0, 1, 2), "cpu"), ((3,), "cpu")], "there is no layer 3"),
    ],
)
def test_a_plan_that_cannot_run_is_refused_by_name(slices: list[tuple[tuple[int, ...], str]], said: str) -> None:
    profile = profile_of(CHAIN, (CPU, GPU), outputs=())
    layers = list(profile.layers)
    layers[1] = replace(layers[1], cost={"cpu": Cost(100.0, 1000.0), "gpu": None})
    with pytest.raises(InfeasibleError, match=said):
        run(replace(profile, layers=tuple(layers)), *slices)


def test_a_group_on_two_devices_is_refused() -> None:
    profile = profile_of(CHAIN, (CPU, GPU), outputs=())
    layers = tuple(replace(layer, group="g") for layer in profile.layers)
    with pytest.raises(InfeasibleError, match="layer b is on gpu, others of its group on cpu"):
        run(replace(profile, layers=layers), ((0,), "cpu"), ((1, 2), "gpu"))


def capped(**fields: Any) -> Profile:
    """A chain of tensors of 1 byte, each layer with 10 bytes of parameters, on one device with these fields."""
    profile = profile_of(CHAIN, (replace(CPU, **fields),), outputs=("c",))
    layers = tuple(replace(layer, parameter_bytes=10, workspace_bytes=5) for layer in profile.layers)
    return replace(profile, layers=layers)


def test_a_slice_may_fill_its_cap_to_the_last_byte() -> None:
    assert run(capped(slice_memory_bytes=20 + 5 + 2), ((0, 1), "cpu"), ((2,), "cpu")).seconds == 300.0
    with pytest.raises(InfeasibleError, match="from layer a on cpu needs 27 bytes"):
        run(capped(slice_memory_bytes=26), ((0, 1), "cpu"), ((2,), "cpu"))


def test_the_device_cap_counts_all_parameters_and_the_largest_rest() -> None:
    assert run(capped(memory_bytes=30 + 5 + 2), ((0, 1), "cpu"), ((2,), "cpu")).seconds == 300.0
    with pytest.raises(InfeasibleError, match="the slices on cpu need 37 bytes"):
        run(capped(memory_bytes=36), ((0, 1), "cpu"), ((2,), "cpu"))


def test_activations_may_count_as_their_sum() -> None:
    assert run(capped(slice_memory_bytes=30 + 5 + 3, activation_memory="sum"), ((0, 1, 2), "cpu")).seconds == 300.0
    with pytest.raises(InfeasibleError):
        run(capped(slice_memory_bytes=30 + 5 + 2, activation_memory="sum"), ((0, 1, 2), "cpu"))


def test_the_plan_of_the_formats_example_costs_what_it_says() -> None:
    plan, profile = tiny_plan(), tiny_profile()
    timeline = run(profile, *((item.layers, item.state) for item in plan.slices))
    assert timeline.seconds == pytest.approx(plan.predicted.seconds)
    assert timeline.joules == pytest.approx(plan.predicted.joules)
    assert timeline.interval_seconds == pytest.approx(plan.predicted.interval_seconds)
    assert [time for times in timeline.slice_times for time in times] == pytest.approx(
        [time for item in plan.slices for time in (item.start_s, item.end_s)]
    )
    assert [time for times in timeline.copy_times for time in times] == pytest.approx(
        [time for item in plan.transfers for time in (item.start_s, item.end_s)]
    )
