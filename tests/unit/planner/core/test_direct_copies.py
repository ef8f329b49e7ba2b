"""A tensor goes directly between devices only where that is no dearer than by way of host."""

from __future__ import annotations

import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, TensorTransferCost, TransferCost
from mosaic_onnx.planner.core.request import PlacedSlice, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.planning.profile_plan import plan_profile
from tests.unit.planner.every_plan import every_plan


def pipeline(device_count: int, layer_count: int, direct: TransferCost | None, work_s: float = 1.0) -> Profile:
    """A chain on equal devices; copies to and from host take 1 s, direct ones what ``direct`` says."""
    names = [f"gpu{number}" for number in range(device_count)]
    copies = [copy for name in names for copy in (_copy("host", name), _copy(name, "host"))]
    if direct is not None:
        copies += [
            TransferCost(a, b, direct.seconds_per_byte, direct.seconds, 0.0, direct.joules, direct.tensors)
            for a in names
            for b in names
            if a != b
        ]
    layers = tuple(
        ProfileLayer(f"l{k}", (f"t{k}",), (f"t{k + 1}",), {name: Cost(work_s, 1.0) for name in names})
        for k in range(layer_count)
    )
    tensors = {f"t{k}": 8 for k in range(layer_count + 1)}
    devices = tuple(Device(name) for name in names)
    return Profile("chain", devices, tensors, ("t0",), (f"t{layer_count}",), layers, tuple(copies))


def _copy(source: str, destination: str) -> TransferCost:
    return TransferCost(source, destination, seconds=1.0, joules=1.0)


def two_slices(direct: TransferCost) -> float:
    table = cost_table(pipeline(2, 2, direct))
    return simulate(table, (PlacedSlice((0,), 0), PlacedSlice((1,), 1))).seconds


def test_a_cheap_link_is_taken_and_a_dear_one_is_not() -> None:
    assert two_slices(TransferCost("", "", seconds=0.5)) == 1 + 1 + 0.5 + 1 + 1
    assert two_slices(TransferCost("", "", seconds=50.0)) == 1 + 1 + 2 + 1 + 1


def test_of_equally_fast_ways_the_one_of_fewer_joules_is_taken() -> None:
    both = cost_table(pipeline(2, 2, TransferCost("", "", seconds=2.0, joules=9.0)))
    assert not both.direct_s
    assert cost_table(pipeline(2, 2, TransferCost("", "", seconds=2.0, joules=1.0))).direct_s


def test_each_tensor_takes_its_own_cheaper_way() -> None:
    some = TransferCost("", "", seconds=0.5, tensors={"t1": TensorTransferCost(9.0)})
    table = cost_table(pipeline(2, 3, some))
    assert table.straight_s(1, 0, 1) is None
    assert table.straight_s(2, 0, 1) == 0.5
    placed = (PlacedSlice((0,), 0), PlacedSlice((1,), 1), PlacedSlice((2,), 0))
    assert simulate(table, placed).seconds == 1 + 1 + 2 + 1 + 0.5 + 1 + 1


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_dear_links_make_no_plan_worse_than_no_links(objective: str) -> None:
    """Eight devices joined by dear links, where one alone was better than the pipeline that was planned."""
    dear, without = pipeline(8, 16, TransferCost("", "", 1e-3, 50.0)), pipeline(8, 16, None)
    assert cost_table(dear).direct_s == cost_table(without).direct_s == {}
    plan = plan_profile(dear, Request(objective=objective, time_limit_s=1.0))  # type: ignore[arg-type]
    one_device = simulate(cost_table(without), (PlacedSlice(tuple(range(16)), 0),))
    assert plan.predicted.interval_seconds <= one_device.interval_seconds
    assert any("go by host" in note for note in plan.meta["notes"])  # type: ignore[attr-defined]
    assert not plan_profile(pipeline(1, 2, None)).meta


def test_the_plan_is_the_best_of_all_where_links_are_dear_for_some_tensors() -> None:
    some = TransferCost("", "", seconds=0.25, tensors={"t1": TensorTransferCost(9.0), "t3": TensorTransferCost(2.5)})
    table = cost_table(pipeline(3, 4, some))
    best = min(timeline.seconds for _, timeline in every_plan(table))
    solution = solve(table, Request())
    assert solution.timeline.seconds == best
    assert solution.plan.bound is not None
    assert solution.plan.bound.value == pytest.approx(best)
