from __future__ import annotations

from dataclasses import replace

import pytest

from mosaic_onnx.core.cost_table import cost_table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.files.plan_file import plan_from_json, plan_to_json
from mosaic_onnx.pipeline.load_session import slots_needed
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.planning.replicas import equal_devices, with_replicas

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
    plan = with_replicas(profile, cut, THROUGHPUT, table)
    assert plan.predicted.interval_seconds == pytest.approx(5.0)
    assert {plan.slices[0].state, *plan.replicas} == {"core0", "core1"}
    assert plan.predicted.seconds == pytest.approx(10.0)
    assert slots_needed(plan) == 2  # on each replica: one that runs and one that waits
    assert plan_from_json(plan_to_json(plan)) == plan


def test_a_chain_that_is_cut_evenly_stays_a_pipeline() -> None:
    profile = chain(5.0, 5.0)
    table = cost_table(profile)
    cut = plan_profile(profile, THROUGHPUT, table=table)
    assert with_replicas(profile, cut, THROUGHPUT, table) is cut
    assert "replicas" not in plan_to_json(cut)


def test_replicas_are_for_throughput_and_within_its_deadline_only() -> None:
    profile = chain(1.0, 9.0)
    table = cost_table(profile)
    cut = plan_profile(profile, THROUGHPUT, table=table)
    for request in (Request(), replace(THROUGHPUT, one_slice_per_device=True), replace(THROUGHPUT, deadline_s=9.5)):
        assert with_replicas(profile, cut, request, table) is cut


def test_devices_are_equal_if_they_differ_in_their_place_alone() -> None:
    spinning = replace(CORES[0], name="spinning", options={**CORES[0].options, "spinning": True})
    whole = Device("cpu", backend="onnxruntime")
    assert equal_devices([*CORES, spinning, whole, replace(whole, name="cpu2")]) == [list(CORES)]
