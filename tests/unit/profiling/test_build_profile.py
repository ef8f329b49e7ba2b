from __future__ import annotations

import pytest

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.profiles import Cost
from mosaic_onnx.files.profile_file import profile_from_json, profile_to_json
from mosaic_onnx.profiling.aggregate import StateCosts
from mosaic_onnx.profiling.build_profile import ModelIdentity, StateResult, compose_profile, measured_result
from tests.unit.profiling.test_device_profiler import chain_graph

CPU, NPU = Device("cpu", backend="a"), Device("npu", backend="b", simulated=True, slice_seconds=0.5)
COSTS = StateCosts({0: 1.0, 1: 2.0}, {1: 4096}, {1: 2.5}, {1: 1e-6}, {(0, 1): 2.9}, 0.1)


def test_measured_costs_segments_and_reasons_stand_in_the_profile() -> None:
    result = measured_result("cpu", COSTS, {2: "does not compile: no"}, 3)
    profile = compose_profile(ModelIdentity("m", "0" * 64), chain_graph(3), [CPU], [result])
    assert [layer.cost["cpu"] and layer.cost["cpu"].seconds for layer in profile.layers] == [1.0, 2.0, None]
    assert profile.layers[2].reasons == {"cpu": "does not compile: no"}
    assert profile.layers[1].cost["cpu"] == Cost(2.0, workspace_bytes=4096, error=1e-6, meta={"alone_s": 2.5})
    assert [(one.first, one.last, one.seconds) for one in profile.segments] == [(0, 1, 2.9), (1, 1, 2.5)]
    assert profile.devices[0].slice_seconds == 0.1


def test_layers_not_measured_say_so() -> None:
    result = measured_result("cpu", StateCosts({}, {}, {}, {}, {}, 0.0), {}, 2)
    assert set(result.reasons.values()) == {"not measured: interrupted"}


def test_a_described_device_keeps_its_own_slice_seconds() -> None:
    stated = StateResult("npu", {0: Cost(1.0, source="simulated")}, {1: "no such operator"})
    profile = compose_profile(ModelIdentity("m"), chain_graph(2), [NPU], [stated])
    assert profile.devices[0].slice_seconds == 0.5
    assert profile.layers[0].cost["npu"] == Cost(1.0, source="simulated")


def test_energy_is_given_for_all_costs_or_for_none() -> None:
    with_energy = StateResult("npu", {0: Cost(1.0, 2.0), 1: Cost(1.0, 2.0)})
    both = compose_profile(
        ModelIdentity("m"), chain_graph(2), [CPU, NPU], [measured_result("cpu", COSTS, {}, 2), with_energy]
    )
    assert {cost.joules for layer in both.layers for cost in layer.cost.values() if cost} == {None}
    assert "energy" in both.meta
    alone = compose_profile(ModelIdentity("m"), chain_graph(2), [NPU], [with_energy])
    assert {cost.joules for layer in alone.layers for cost in layer.cost.values() if cost} == {2.0}
    assert "energy" not in alone.meta


def test_the_profile_survives_its_file() -> None:
    result = measured_result("cpu", COSTS, {2: "no"}, 3)
    profile = compose_profile(ModelIdentity("m"), chain_graph(3), [CPU], [result], meta={"machine": {"cpu": "x"}})
    back = profile_from_json(profile_to_json(profile))
    assert back.layers[1].cost["cpu"] == pytest.approx(profile.layers[1].cost["cpu"])
    assert back.segments == profile.segments
