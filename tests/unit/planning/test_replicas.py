from __future__ import annotations

from dataclasses import replace

import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.in_flight import slots_needed, with_admitted_interval
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.files.plan_file import plan_from_json, plan_to_json
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.planning.replicas import equal_devices, throughput_plans

THROUGHPUT = Request(objective="throughput")
CORES = tuple(Device(f"core{at}", backend="onnxruntime", options={"threads": 1, "cores": str(at)}) for at in (0, 1))


def chain(*seconds: float, devices: tuple[Device, ...] = CORES) -> Profile:
    layers = tuple(
        ProfileLayer(f"l{at}", (f"t{at}",), (f"t{at + 1}",), {one.name: Cost(s) for one in devices})
        for at, s in enumerate(seconds)
    )
    sizes = {f"t{at}": 4 for at in range(len(seconds) + 1)}
    return Profile("m", devices, sizes, ("t0",), (f"t{len(seconds)}",), layers)


def test_a_chain_that_cannot_be_cut_evenly_is_better_replicated() -> None:
    profile = chain(1.0, 9.0)
    table = cost_table(profile)
    cut = plan_profile(profile, THROUGHPUT, table=table)
    assert cut.predicted.interval_seconds == pytest.approx(9.0)
    plan, other = throughput_plans(profile, cut, THROUGHPUT, table)
    assert other == cut
    assert plan.predicted.interval_seconds == pytest.approx(5.0)
    assert {plan.slices[0].state, *plan.replicas} == {"core0", "core1"}
    assert plan.predicted.seconds == pytest.approx(10.0)
    assert slots_needed(plan) == 2  # on each replica: one that runs and one that waits
    assert plan_from_json(plan_to_json(plan)) == plan


def test_a_chain_that_is_cut_evenly_stays_a_pipeline() -> None:
    profile = chain(5.0, 5.0)
    table = cost_table(profile)
    cut = plan_profile(profile, THROUGHPUT, table=table)
    first, replicated = throughput_plans(profile, cut, THROUGHPUT, table)
    assert first is cut
    assert replicated.predicted.interval_seconds == pytest.approx(5.0)
    assert replicated.gap == pytest.approx(0.0)  # no replica of a single slice could do better
    assert "replicas" not in plan_to_json(cut)


def test_replicas_are_for_throughput_and_within_its_deadline_only() -> None:
    profile = chain(1.0, 9.0)
    table = cost_table(profile)
    cut = plan_profile(profile, THROUGHPUT, table=table)
    for request in (Request(), replace(THROUGHPUT, one_slice_per_device=True), replace(THROUGHPUT, deadline_s=9.5)):
        assert throughput_plans(profile, cut, request, table)[1:] == ()


def test_devices_that_exclude_each_other_are_no_replicas() -> None:
    profile = replace(chain(1.0, 9.0), exclusive=(("core0", "core1"),))
    table = cost_table(profile)
    cut = plan_profile(profile, THROUGHPUT, table=table)
    assert throughput_plans(profile, cut, THROUGHPUT, table) == (cut,)


def test_a_deadline_bounds_the_requests_under_way_and_the_interval_tells_it() -> None:
    profile = chain(5.0, 5.0)
    cut = plan_profile(profile, THROUGHPUT)
    assert (cut.predicted.seconds, cut.predicted.interval_seconds) == (10.0, 5.0)
    for deadline_s, slot_count, interval_s in ((None, 3, 5.0), (15.0, 3, 5.0), (14.0, 2, 5.0), (9.9, 1, 10.0)):
        plan = replace(cut, constraints={} if deadline_s is None else {"deadline_s": deadline_s})
        assert slots_needed(plan) == slot_count
        assert with_admitted_interval(plan).predicted.interval_seconds == pytest.approx(interval_s)


def test_devices_are_equal_if_they_differ_in_their_place_alone() -> None:
    spinning = replace(CORES[0], name="spinning", options={**CORES[0].options, "spinning": True})
    whole = Device("cpu", backend="onnxruntime")
    assert equal_devices([*CORES, spinning, whole, replace(whole, name="cpu2")]) == [list(CORES)]
