"""Baselines: what each proposes, and that the simulator accepts it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import InfeasibleError, UsageError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.planner.baselines.governors import on_demand
from mosaic_onnx.planner.core.request import PlacedSlice, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.solve import solve

LEVELS = (Level("low", 1e9, 0.8), Level("high", 2e9, 1.0))
CPU = Device("cpu", levels=LEVELS)
GPU = Device("gpu", levels=LEVELS, io="host")
NPU = Device("npu", io="host", slice_memory_bytes=100, activation_memory="sum")

Times = tuple[float | None, float | None, float | None]


def table_of(times: list[Times], weights: list[int] | None = None, copy_s: float = 0.001) -> CostTable:
    """A chain of layers with seconds at the highest level of cpu, gpu and npu; joules are seconds at one watt."""
    layers = []
    for index, one in enumerate(times):
        cost: dict[str, Cost | None] = {}
        for device, seconds in zip((CPU, GPU, NPU), one, strict=True):
            for state in device.states:
                slower = 2.0 if state.endswith("@low") else 1.0
                watts = 0.3 if state.endswith("@low") else 1.0
                cost[state] = None if seconds is None else Cost(seconds * slower, seconds * slower * watts)
        layers.append(
            ProfileLayer(
                f"l{index}",
                inputs=(f"t{index}",),
                outputs=(f"t{index + 1}",),
                cost=cost,
                parameter_bytes=weights[index] if weights else 10,
                activation_bytes=0,
            )
        )
    copies = [
        TransferCost(source, destination, seconds=copy_s, joules=copy_s)
        for name in ("gpu", "npu")
        for source, destination in (("host", name), (name, "host"))
    ]
    tensors = {f"t{index}": 100 for index in range(len(times) + 1)}
    outputs = (f"t{len(times)}",)
    return cost_table(Profile("chain", (CPU, GPU, NPU), tensors, ("t0",), outputs, tuple(layers), tuple(copies)))


def planned(table: CostTable, method: str, objective: str = "latency") -> list[tuple[tuple[int, ...], str]]:
    solution = solve(table, Request(objective=objective, method=method))  # type: ignore[arg-type]
    return [(placed.layers, table.state_names[placed.state]) for placed in solution.proposal]


EVEN: Times = (0.03, 0.02, 0.01)


def test_preferred_fills_slices_up_to_the_cap() -> None:
    table = table_of([EVEN] * 5, weights=[40, 40, 40, 40, 40])
    assert planned(table, "preferred:npu") == [((0, 1), "npu"), ((2, 3), "npu"), ((4,), "npu")]


def test_preferred_falls_back_in_the_given_order_and_comes_back() -> None:
    table = table_of([EVEN, (0.03, 0.02, None), EVEN, (0.03, None, None)])
    assert planned(table, "preferred:npu,gpu,cpu") == [
        ((0,), "npu"),
        ((1,), "gpu@high"),
        ((2,), "npu"),
        ((3,), "cpu@high"),
    ]


def test_a_layer_too_large_for_a_slice_of_its_own_goes_to_the_fallback() -> None:
    table = table_of([EVEN] * 3, weights=[10, 101, 10])
    assert planned(table, "preferred:npu,gpu") == [((0,), "npu"), ((1,), "gpu@high"), ((2,), "npu")]


def test_without_named_fallbacks_the_fastest_device_is_next() -> None:
    table = table_of([(0.01, 0.02, None), EVEN])
    assert planned(table, "preferred:npu")[0] == ((0,), "cpu@high")


def test_a_device_whose_memory_is_spent_takes_no_more_layers() -> None:
    table = table_of([EVEN] * 3, weights=[40, 40, 40])
    small = replace(table, memory_bytes=table.memory_bytes.copy())
    small.memory_bytes[2] = 80.0
    assert planned(small, "preferred:npu,gpu") == [((0, 1), "npu"), ((2,), "gpu@high")]


def test_layers_of_one_group_stay_on_one_device() -> None:
    table = table_of([EVEN, (0.03, 0.02, None)])
    grouped = replace(table, group=table.group * 0)
    assert planned(grouped, "preferred:npu,gpu") == [((0, 1), "gpu@high")]


@pytest.mark.parametrize(
    ("method", "word"),
    [
        ("preferred", "needs a device"),
        ("preferred:tpu", "tpu"),
        ("greedy:npu,npu", "twice"),
        ("random:x", "whole number"),
    ],
)
def test_wrong_words_are_refused_with_the_known_ones(method: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        planned(table_of([EVEN]), method)


def test_words_after_a_method_that_takes_none_are_refused() -> None:
    with pytest.raises(UsageError, match="takes nothing after a colon"):
        planned(table_of([EVEN]), "hca:3")


def test_no_device_for_a_layer_is_infeasible() -> None:
    with pytest.raises(InfeasibleError, match="l1"):
        planned(table_of([EVEN, (None, None, None)]), "preferred:npu")


def test_on_demand_rises_after_a_sampling_period_on_a_device_in_host_memory() -> None:
    table = table_of([(0.004, None, None)] * 4)
    assert planned(table, "preferred-on-demand:cpu") == [((0, 1), "cpu@low"), ((2, 3), "cpu@high")]


def test_on_demand_gives_a_slice_on_its_own_memory_one_level() -> None:
    short, long = table_of([(None, 0.002, None)]), table_of([(None, 0.02, None)])
    assert planned(short, "preferred-on-demand:gpu") == [((0,), "gpu@low")]
    assert planned(long, "preferred-on-demand:gpu") == [((0,), "gpu@high")]


def test_on_demand_stays_high_over_a_short_break_and_falls_after_a_long_one() -> None:
    table = table_of([(0.02, None, 0.005), EVEN, (0.02, None, 0.005), (0.02, None, 0.05), (0.02, None, 0.005)])
    cpu, npu = table.state_names.index("cpu@high"), table.state_names.index("npu")
    slices = tuple(PlacedSlice((layer,), state) for layer, state in enumerate((cpu, npu, cpu, npu, cpu)))
    states = [table.state_names[placed.state] for placed in on_demand(table, slices)]
    assert states == ["cpu@low", "npu", "cpu@low", "npu", "cpu@low"]
    lasting = (PlacedSlice((0, 1), cpu), PlacedSlice((2,), npu), PlacedSlice((3, 4), cpu))
    levels = [table.state_names[placed.state] for placed in on_demand(table, lasting)]
    assert levels == ["cpu@low", "cpu@high", "npu", "cpu@high"]


def test_hca_does_not_see_copies_and_pays_for_them() -> None:
    table = table_of([(0.010, None, 0.009), (0.009, None, 0.010)] * 3, copy_s=0.01)
    assert [state for _, state in planned(table, "hca")] == ["npu", "cpu@high"] * 3
    assert planned(table, "hcca") == [((0, 1, 2, 3, 4, 5), "cpu@high")]


def test_hca_joins_neighbouring_slices_that_it_cut_for_nothing() -> None:
    table = table_of([EVEN] * 4)
    assert planned(table, "hca") == [((0, 1, 2, 3), "npu")]


def test_hcca_looks_at_the_highest_levels_only() -> None:
    table = table_of([(0.01, None, None)] * 2)
    assert planned(table, "hcca", "energy") == [((0, 1), "cpu@high")]
    assert planned(table, "interval", "energy") == [((0, 1), "cpu@low")]


def test_random_plans_are_unique_legal_and_seeded() -> None:
    from mosaic_onnx.planner.baselines.random_plans import draw_plans

    table = table_of([EVEN] * 6, weights=[40] * 6)
    plans = draw_plans(table, Request(objective="energy", seed=1), 50)
    assert len(set(plans)) == len(plans) == 50
    assert plans == draw_plans(table, Request(objective="energy", seed=1), 50)
    assert plans != draw_plans(table, Request(objective="energy", seed=2), 50)
    for plan in plans:
        simulate(table, plan)
    assert {"cpu@low", "npu"} <= {table.state_names[placed.state] for plan in plans for placed in plan}


def test_random_plans_for_time_use_highest_levels() -> None:
    from mosaic_onnx.planner.baselines.random_plans import draw_plans

    table = table_of([EVEN] * 6)
    states = {table.state_names[placed.state] for plan in draw_plans(table, Request(), 50) for placed in plan}
    assert states == {"cpu@high", "gpu@high", "npu"}


def test_random_plans_of_a_tiny_problem_run_out() -> None:
    from mosaic_onnx.planner.baselines.random_plans import draw_plans

    assert len(draw_plans(table_of([EVEN]), Request(), 1000)) == 3


def test_greedy_takes_the_first_listed_device_whatever_it_costs() -> None:
    table = table_of([EVEN, (0.001, 5.0, None), EVEN])
    assert planned(table, "greedy:npu,gpu,cpu") == [((0,), "npu"), ((1,), "gpu@high"), ((2,), "npu")]


def test_greedy_gathers_layers_of_one_device_across_branches() -> None:
    """a feeds b and c, d reads both; only c must be on the cpu, so npu runs a and b in one slice."""
    names = {"a": ("x",), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    layers = []
    for name, inputs in names.items():
        cost = {"cpu@low": Cost(0.2), "cpu@high": Cost(0.1), "npu": None if name == "c" else Cost(0.1)}
        layers.append(ProfileLayer(name, inputs, (name,), cost, activation_bytes=0))
    order = [layers[0], layers[2], layers[1], layers[3]]
    copies = (TransferCost("host", "npu"), TransferCost("npu", "host"))
    profile = Profile("branches", (CPU, NPU), dict.fromkeys("xabcd", 4), ("x",), ("d",), tuple(order), copies)
    table = cost_table(profile)
    assert planned(table, "greedy:npu,cpu") == [((0, 2), "npu"), ((1,), "cpu@high"), ((3,), "npu")]


def test_greedy_closes_a_slice_at_the_cap() -> None:
    table = table_of([EVEN] * 3, weights=[60, 60, 101])
    assert planned(table, "greedy:npu,gpu") == [((0,), "npu"), ((1,), "npu"), ((2,), "gpu@high")]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.001, 0.1), st.none() | st.floats(0.001, 0.1), st.none() | st.floats(0.001, 0.1)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["latency", "energy"]),
    st.floats(0.0, 0.05),
)
def test_no_baseline_beats_the_planner_on_a_chain(times: list[Times], objective: str, copy_s: float) -> None:
    table = table_of(times, weights=[35] * len(times), copy_s=copy_s)

    def figure(method: str) -> float:
        timeline = solve(table, Request(objective=objective, method=method)).timeline  # type: ignore[arg-type]
        return timeline.seconds if objective == "latency" else timeline.joules or 0.0

    best = figure("interval")
    baselines = ["preferred:npu", "preferred-on-demand:cpu", "preferred-on-demand:gpu", "greedy:gpu,npu,cpu"]
    for method in (*baselines, "hca", "hcca", "random:20", "best-of:20"):
        assert figure(method) >= best * (1 - 1e-9), method
    assert figure("best-of:20") == pytest.approx(best)
