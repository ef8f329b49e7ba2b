"""Several models in one plan: HaX-CoNN's instance, and what a merged profile must keep."""

from __future__ import annotations

import dataclasses
import json
from itertools import combinations, product
from pathlib import Path

import pytest

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.profiles import MeasuredSlice, Profile
from mosaic_onnx.files.plan_file import plan_from_json
from mosaic_onnx.files.profile_checks import check_profile
from mosaic_onnx.files.profile_file import write_profile
from mosaic_onnx.planner.core.request import PlacedSlice, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.scenarios.joint.merge import merge_profiles
from mosaic_onnx.scenarios.joint.plan import JointPlan, plan_jointly
from mosaic_onnx.scenarios.joint.sum_latency import model_latencies, split_by_model
from tests.unit.scenarios.builders import ALEXNET, GOOGLENET, chain_profile, hax_profile

CONCURRENT = Request(schedule="concurrent", time_limit_s=20.0)


def hax(*, sum_latency: bool) -> JointPlan:
    profiles = [hax_profile("GoogLeNet", GOOGLENET), hax_profile("AlexNet", ALEXNET)]
    return plan_jointly(profiles, ["GoogLeNet", "AlexNet"], CONCURRENT, sum_latency=sum_latency)


def test_googlenet_and_alexnet_all_on_the_gpu_take_3_51_ms() -> None:
    merged = merge_profiles([hax_profile("g", GOOGLENET), hax_profile("a", ALEXNET)], ["g", "a"])
    proposal = (PlacedSlice(tuple(range(10)), 0), PlacedSlice(tuple(range(10, 18)), 0))
    assert simulate(cost_table(merged.profile), proposal, "concurrent").seconds == pytest.approx(3.51e-3)


def test_hax_conns_instance_takes_2_52_ms() -> None:
    pytest.importorskip("ortools")
    joint = hax(sum_latency=False)
    assert joint.plan.predicted.seconds == pytest.approx(2.52e-3)
    assert max(joint.latencies_s) == pytest.approx(2.52e-3)
    assert joint.plan.gap is not None
    assert joint.plan.gap < 1e-5


def test_hax_conns_instance_has_a_least_sum_of_4_60_ms() -> None:
    pytest.importorskip("ortools")
    joint = hax(sum_latency=True)
    assert sum(joint.latencies_s) == pytest.approx(4.60e-3)
    assert joint.plan.gap is not None
    assert joint.plan.gap < 1e-5
    assert all(len({joint.merged.model_of(layer) for layer in one.layers}) == 1 for one in joint.plan.slices), (
        "a slice holds layers of two models"
    )


def test_the_least_sum_of_two_small_chains_is_what_enumeration_finds() -> None:
    pytest.importorskip("ortools")
    profiles = [chain_profile([(3, 2), (2, 4), (5, 1)], copy_s=1), chain_profile([(4, 2), (1, 3)], copy_s=1)]
    joint = plan_jointly(profiles, ["a", "b"], CONCURRENT, sum_latency=True)
    table = cost_table(joint.merged.profile)
    best = min(
        sum(model_latencies(table, proposal, simulate(table, proposal, "concurrent"), (0, 3)))
        for states in product(range(2), repeat=5)
        for proposal in interleavings(states)
    )
    assert sum(joint.latencies_s) == best


def interleavings(states: tuple[int, ...]) -> list[tuple[PlacedSlice, ...]]:
    """Every order of layers 0, 1, 2 and 3, 4, each a slice of its own."""
    found = []
    for places in combinations(range(5), 3):
        first, second = iter((0, 1, 2)), iter((3, 4))
        order = [next(first) if place in places else next(second) for place in range(5)]
        found.append(tuple(PlacedSlice((layer,), states[layer]) for layer in order))
    return found


def test_layers_tensors_copies_and_measured_slices_keep_their_costs() -> None:
    one = dataclasses.replace(chain_profile([(3, 2), (2, 4)], copy_s=1), segments=(MeasuredSlice(0, 1, "a", 4.0),))
    two = chain_profile([(4, 2)], copy_s=2)
    merged = merge_profiles([one, two], ["net", "net"])
    assert merged.names == ("net.1", "net.2")
    assert merged.first_layers == (0, 2)
    profile = check_profile(merged.profile)
    table = cost_table(profile)
    assert table.segments == {(0, 1, 0): (4.0, None)}
    arrived = dict(zip(table.tensor_names, table.from_host_s[:, 1].tolist(), strict=True))
    assert {name: seconds for name, seconds in arrived.items() if seconds != 1} == {"net.2/t0": 2, "net.2/t1": 2}
    for model, table_alone in ((0, cost_table(one)), (1, cost_table(two))):
        rows = table.layer_s[merged.first_layers[model] :][: len(table_alone.layer_names)]
        assert rows.tolist() == table_alone.layer_s.tolist()


def other_devices(profile: Profile) -> Profile:
    return dataclasses.replace(profile, devices=profile.devices[:1])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (other_devices, "devices"),
        (lambda one: dataclasses.replace(one, copies=()), "copies between places"),
        (lambda one: dataclasses.replace(one, copies_occupy_device=True), "copies_occupy_device"),
    ],
)
def test_profiles_that_do_not_agree_are_refused(change: object, what: str) -> None:
    one = chain_profile([(3, 2)], copy_s=1)
    with pytest.raises(ModelError, match=what):
        merge_profiles([one, change(one)], ["a", "b"])  # type: ignore[operator]


def test_the_sum_of_latencies_needs_a_concurrent_schedule() -> None:
    with pytest.raises(UsageError, match="side by side"):
        plan_jointly([chain_profile([(3, 2)])], ["a"], Request(), sum_latency=True)


def test_slices_of_two_models_are_split() -> None:
    assert split_by_model((PlacedSlice((0, 1, 2), 0),), (0, 2)) == (PlacedSlice((0, 1), 0), PlacedSlice((2,), 0))


def test_the_command_prints_a_plan_with_its_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ortools")
    from mosaic_onnx.cli import run

    files = []
    for name, rows in (("GoogLeNet", GOOGLENET), ("AlexNet", ALEXNET)):
        files.append(str(tmp_path / f"{name}.profile.json"))
        write_profile(hax_profile(name, rows), files[-1])
    words = ["plan", *files, "--schedule", "concurrent", "--time-limit", "20", "--json"]
    assert run(words) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["predicted"]["seconds"] == pytest.approx(2.52e-3)
    assert [(model["name"], model["first_layer"]) for model in plan["models"]] == [("GoogLeNet", 0), ("AlexNet", 10)]
    assert [(one.name, one.first_layer) for one in plan_from_json(json.dumps(plan)).models] == [
        ("GoogLeNet", 0),
        ("AlexNet", 10),
    ]
    assert run([*words, "--objective", "sum-latency"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["objective"] == "sum-latency"
    assert sum(model["meta"]["latency_s"] for model in plan["models"]) == pytest.approx(4.60e-3)
    assert plan["bound"]["value"] == pytest.approx(4.60e-3)
    assert plan_from_json(json.dumps(plan)).is_latency_sum
