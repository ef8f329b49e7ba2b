"""Label-setting: exact on chains with everything that the profile format can say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, SwitchCost, TransferCost
from mosaic_onnx.planner.chain.label_setting import labels, labels_apply
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.core.request_constraints import meets
from mosaic_onnx.planner.core.simulate import simulate, value
from mosaic_onnx.planner.solve import solve
from tests.unit.planner.brute_force import all_proposals, least
from tests.unit.planner.random_profiles import random_profile

CHAINS = 1000


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 10))])
def test_plans_of_random_chains_equal_brute_force(part: int) -> None:
    """Caps on slices and devices, levels, switches, segments, overrides, unsupported layers, both io kinds."""
    infeasible = 0
    for seed in range(part * CHAINS // 10, (part + 1) * CHAINS // 10):
        profile = random_profile(seed, chain=True, layer_count=1 + seed % 7, state_count=1 + seed // 7 % 3)
        table = cost_table(profile)
        objective = "energy" if table.layer_j is not None and seed % 2 else "latency"
        request = Request(objective=objective, method="labels")
        best = least(table, request.objective)
        if best is None:
            infeasible += 1
            with pytest.raises(InfeasibleError):
                solve(table, request)
            continue
        solution = solve(table, request)
        assert value(solution.timeline, request.objective) == pytest.approx(best)
        assert solution.plan.bound is not None
        assert solution.plan.bound.value == pytest.approx(best)
        assert (solution.plan.gap or 0.0) < 1e-9
    assert infeasible < CHAINS / 10 / 3


def least_under(table: CostTable, request: Request) -> float | None:
    """The least value over all plans that keep the request's demands."""
    figures = []
    for proposal in all_proposals(table):
        try:
            timeline = simulate(table, proposal)
            meets(table, request, proposal, timeline)
        except InfeasibleError:
            continue
        figures.append(value(timeline, request.objective))
    return min(figures, default=None)


@pytest.mark.parametrize(
    "request_", [Request(one_slice_per_device=True), Request(min_slice_count=3), Request(min_slice_count=9)]
)
def test_demands_and_groups_are_kept_exactly(request_: Request) -> None:
    planned = 0
    for seed in range(90):
        profile = random_profile(
            seed, chain=True, layer_count=1 + seed % 5, state_count=1 + seed % 3, groups=seed % 2 == 0
        )
        table = cost_table(profile)
        best = least_under(table, request_)
        if best is None:
            with pytest.raises(InfeasibleError):
                labels(table, request_)
            continue
        answer = labels(table, request_)
        assert simulate(table, answer.proposals[0]).seconds == pytest.approx(best)
        assert answer.bound == pytest.approx(best)
        planned += 1
    assert planned > 20


def switching_profile(switch_s: float) -> Profile:
    """Two layers that like different levels of one device, and a middle one that any device may run."""
    gpu = Device("gpu", levels=(Level("low"), Level("high")))
    costs = [
        {"gpu@low": Cost(1.0), "gpu@high": Cost(3.0), "cpu": Cost(9.0)},
        {"gpu@low": Cost(5.0), "gpu@high": Cost(5.0), "cpu": Cost(1.0)},
        {"gpu@low": Cost(3.0), "gpu@high": Cost(1.0), "cpu": Cost(9.0)},
    ]
    layers = tuple(ProfileLayer(f"l{n}", (f"t{n}",), (f"t{n + 1}",), cost) for n, cost in enumerate(costs))
    return Profile(
        "p",
        (gpu, Device("cpu")),
        {f"t{n}": 1 for n in range(4)},
        ("t0",),
        ("t3",),
        layers,
        copies=(TransferCost("host", "gpu"), TransferCost("gpu", "host")),
        switches=(SwitchCost("gpu", "low", "high", switch_s),),
    )


def test_a_switch_counts_across_slices_of_other_devices() -> None:
    states = [
        [item.state for item in solve(cost_table(switching_profile(switch_s)), Request(method="labels")).plan.slices]
        for switch_s in (1.0, 3.0)
    ]
    assert states[0] == ["gpu@low", "cpu", "gpu@high"]
    assert states[1] in (["gpu@low", "cpu", "gpu@low"], ["gpu@high", "cpu", "gpu@high"])


def test_a_cap_on_a_device_is_spent_where_it_saves_most() -> None:
    layers = tuple(
        ProfileLayer(f"l{n}", (f"t{n}",), (f"t{n + 1}",), {"npu": Cost(1.0), "cpu": Cost(slow)}, parameter_bytes=10)
        for n, slow in enumerate((2.0, 9.0, 3.0, 8.0))
    )
    devices = (Device("npu", memory_bytes=25), Device("cpu"))
    profile = Profile("p", devices, {f"t{n}": 1 for n in range(5)}, ("t0",), ("t4",), layers)
    plan = solve(cost_table(profile), Request(method="labels")).plan
    assert [item.state for item in plan.slices] == ["cpu", "npu", "cpu", "npu"]
    assert plan.predicted.seconds == 7.0


def test_a_hard_instance_ends_in_time_with_a_bound_below_its_plan() -> None:
    profile = random_profile(5, chain=True, layer_count=40, state_count=4, device_caps=False, switches=False)
    layers = tuple(
        replace(
            layer,
            cost={s: replace(c, seconds=1 + (n * 7 + k * 5) % 13) for k, (s, c) in enumerate(layer.cost.items()) if c},
            parameter_bytes=100 + (n * 37) % 91,
            allowed=None,
        )
        for n, layer in enumerate(profile.layers)
    )
    layers = tuple(
        replace(layer, cost={s: c for s, c in layer.cost.items()} or profile.layers[0].cost) for layer in layers
    )
    devices = tuple(replace(d, memory_bytes=None, slice_memory_bytes=None) for d in profile.devices)
    devices = (replace(devices[0], memory_bytes=2500), *devices[1:])
    table = cost_table(replace(profile, layers=layers, devices=devices, segments=()))
    solution = solve(table, Request(method="labels", time_limit_s=0.3))
    assert solution.plan.bound is not None
    assert 0 < solution.plan.bound.value <= solution.plan.predicted.seconds


def test_labels_are_for_chains_on_which_distant_slices_depend_on_one_another() -> None:
    table = cost_table(switching_profile(1.0))
    assert labels_apply(table, Request())
    plain = cost_table(replace(switching_profile(1.0), switches=()))
    assert not labels_apply(plain, Request())
    assert labels_apply(plain, Request(one_slice_per_device=True))
    graph = cost_table(random_profile(3, chain=False, layer_count=7, state_count=2))
    assert not labels_apply(graph, Request())
    with pytest.raises(InfeasibleError, match="chains only"):
        labels(graph, Request())
