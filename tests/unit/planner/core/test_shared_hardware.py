"""Links between machines that copies queue for, and devices that slow each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InfeasibleError, ModelError
from mosaic_onnx.core.profiles import Cost, Link, Profile, ProfileLayer, TransferCost
from mosaic_onnx.files.profile_checks import check_profile
from mosaic_onnx.files.profile_file import profile_from_json, profile_to_json
from mosaic_onnx.planner.core.contended_timeline import contended_times
from mosaic_onnx.planner.core.request import PlacedSlice, Request
from mosaic_onnx.planner.core.simulate import simulate, slice_cost, switch_cost
from mosaic_onnx.planner.core.timeline import concurrent_times
from mosaic_onnx.planner.core.transfers import paid_transfers
from mosaic_onnx.planner.solve import solve
from tests.unit.planner.exhaustive.test_against_enumeration import random_table
from tests.unit.planner.random_graphs import Kind, random_profile


def branches(count: int, devices: tuple[Device, ...], **fields: object) -> Profile:
    """Layers that read one input each and make one output each, 10 s on every device; tensors of 1 byte."""
    costs = {device.name: Cost(10.0) for device in devices}
    layers = tuple(ProfileLayer(f"l{k}", (f"x{k}",), (f"y{k}",), costs) for k in range(count))
    tensors = {f"{kind}{k}": 1 for kind in "xy" for k in range(count)}
    inputs, outputs = (tuple(f"{kind}{k}" for k in range(count)) for kind in "xy")
    return check_profile(Profile("branches", devices, tensors, inputs, outputs, layers, **fields))  # type: ignore[arg-type]


FAR = (Device("near"), Device("far1", machine="b"), Device("far2", machine="b"))
LINK = Link(("host", "b"), seconds=2.0, joules=1.0)


def test_a_device_of_another_machine_pays_for_the_link_both_ways() -> None:
    profile = branches(1, FAR, links=(LINK,))
    table = cost_table(profile)
    assert table.own_memory.tolist() == [False, True, True]
    assert simulate(table, (PlacedSlice((0,), 1),)).seconds == 2 + 10 + 2


def test_the_way_within_a_machine_is_added_to_its_link() -> None:
    local = TransferCost("host", "far1", seconds=0.5), TransferCost("far1", "host", seconds=0.25)
    table = cost_table(branches(1, FAR, links=(LINK,), copies=local))
    assert simulate(table, (PlacedSlice((0,), 1),)).seconds == 2.5 + 10 + 2.25


def test_devices_of_one_far_machine_pass_tensors_without_the_link() -> None:
    layers = (
        ProfileLayer("a", ("x",), ("t",), {"far1": Cost(1.0)}),
        ProfileLayer("b", ("t",), ("y",), {"far2": Cost(1.0)}),
    )
    tensors = {"x": 1, "t": 1, "y": 1}
    profile = Profile("two", FAR, tensors, ("x",), ("y",), layers, links=(LINK,))
    table = cost_table(check_profile(profile))
    assert table.straight_s(1, 1, 2) == 0.0
    assert simulate(table, (PlacedSlice((0,), 1), PlacedSlice((1,), 2))).seconds == 2 + 1 + 0 + 1 + 2


def test_two_far_machines_use_their_own_link_where_there_is_one() -> None:
    devices = (Device("b0", machine="b"), Device("c0", machine="c"))
    links = LINK, Link(("c", "host"), seconds=3.0)
    assert cost_table(branches(1, devices, links=links)).straight_s(0, 0, 1) is None
    own = Link(("b", "c"), seconds=0.5)
    table = cost_table(branches(1, devices, links=(*links, own)))
    assert table.straight_s(0, 0, 1) == 0.5
    assert table.link_of[0, 1] == 2


def test_copies_over_one_link_queue_and_load_it() -> None:
    table = cost_table(branches(2, FAR, links=(LINK,)))
    both_far = PlacedSlice((0,), 1), PlacedSlice((1,), 2)
    timeline = simulate(table, both_far, "concurrent")
    assert timeline.slice_times == [(2.0, 12.0), (4.0, 14.0)]
    assert sorted(timeline.copy_times) == [(0.0, 2.0), (2.0, 4.0), (12.0, 14.0), (14.0, 16.0)]
    assert timeline.seconds == 16.0
    assert timeline.load_s == [0.0, 14.0, 14.0]
    assert timeline.interval_seconds == 14.0
    many = cost_table(branches(5, FAR, links=(replace(LINK, seconds=9.0),)))
    spread = tuple(PlacedSlice((k,), 1 + k % 2) for k in range(5))
    assert simulate(many, spread).interval_seconds == 5 * 2 * 9.0


def test_a_fast_device_behind_a_slow_link_is_left_alone() -> None:
    profile = branches(4, FAR, links=(replace(LINK, seconds=30.0),))
    solution = solve(cost_table(profile), Request(schedule="concurrent"))
    assert {placed.state for placed in solution.proposal} == {0}


PAIR = (Device("npu"), Device("gpu"))


def test_slices_side_by_side_take_longer_by_the_factor() -> None:
    table = cost_table(branches(2, PAIR, slowdowns={"npu": {"gpu": 2.0}}))
    together = simulate(table, (PlacedSlice((0,), 0), PlacedSlice((1,), 1)), "concurrent")
    assert together.slice_times == [(0.0, 15.0), (0.0, 10.0)]  # half speed for 10 s, then alone
    assert simulate(table, (PlacedSlice((0,), 0), PlacedSlice((1,), 1))).seconds == 20.0


def test_a_plan_spreads_only_as_far_as_devices_let_each_other_work() -> None:
    both = {"npu": {"gpu": 3.0}, "gpu": {"npu": 3.0}}
    kind = branches(2, PAIR, slowdowns=both)
    solution = solve(cost_table(kind), Request(schedule="concurrent"))
    assert solution.timeline.seconds == 20.0
    assert solution.plan.gap == 0.0


def test_factors_of_one_change_nothing() -> None:
    """The simulation of slow-downs, with none, is the usual timeline: links, occupied devices and switches included."""
    compared = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        table = random_table(rng, 5)
        count = len(table.device_names)
        plain = replace(table, slowdown=None, max_slice_count=None)
        ones = replace(plain, slowdown=((1.0,) * count,) * count)
        order = list(range(len(table.layer_names)))
        states = [int(rng.choice(np.flatnonzero(np.isfinite(table.layer_s[layer])))) for layer in order]
        proposal = tuple(PlacedSlice((layer,), state) for layer, state in zip(order, states, strict=True))
        try:
            simulate(plain, proposal)
        except InfeasibleError:
            continue
        moved = paid_transfers(plain, proposal, order)
        slice_s = [slice_cost(plain, placed).seconds for placed in proposal]
        usual = concurrent_times(plain, proposal, moved, slice_s, switches(plain, states))
        slices, copies = contended_times(ones, proposal, moved, slice_s, switches(plain, states))
        assert np.allclose(slices, usual.slices), seed
        assert np.allclose(np.array(copies), np.array(usual.copies)), seed
        compared += 1
    assert compared > 60


def switches(table: CostTable, states: list[int]) -> list[float]:
    last: dict[int, int] = {}
    found = []
    for layer, state in enumerate(states):
        device = int(table.state_device[state])
        found.append(switch_cost(table, last.get(device, state), state, layer)[0])
        last[device] = state
    return found


def test_larger_graphs_are_planned_with_a_bound_that_holds() -> None:
    rng = np.random.default_rng(5)
    profile = random_profile(rng, Kind(layers=14, devices=3, reach=3))
    names = [device.name for device in profile.devices]
    slowed = replace(profile, slowdowns={a: {b: 1.5 for b in names if b != a} for a in names})
    request = Request(schedule="concurrent", time_limit_s=1.0)
    free, contended = solve(cost_table(profile), request), solve(cost_table(slowed), request)
    assert free.plan.bound is not None
    assert contended.plan.bound is not None
    assert free.plan.bound.value <= contended.timeline.seconds * (1 + 1e-9)
    assert contended.plan.bound.value <= contended.timeline.seconds * (1 + 1e-9)


def test_the_file_keeps_machines_links_and_slowdowns() -> None:
    profile = branches(2, FAR, links=(LINK,), slowdowns={"far1": {"far2": 1.25}})
    assert profile_from_json(profile_to_json(profile)) == profile


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, r"links: machine 'b' needs a link to host"),
        ({"links": (LINK, Link(("b", "host")))}, r"links\[1\].between: links\[0\] already joins"),
        ({"links": (LINK, Link(("b", "d")))}, r"links\[1\].between\[1\]: no device is on machine 'd'"),
        ({"links": (LINK,), "slowdowns": {"far1": {"tpu": 2.0}}}, "slowdowns.far1.tpu: names no device"),
        ({"links": (LINK,), "slowdowns": {"far1": {"far1": 2.0}}}, "a device does not slow itself"),
        ({"links": (LINK,), "slowdowns": {"far1": {"far2": 0.5}}}, "not a factor from 1 on"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        branches(1, FAR, **fields)
