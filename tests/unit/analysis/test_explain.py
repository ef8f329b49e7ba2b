"""Explanations of plans: of layers, boundaries, missing operators, and of what two plans do otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mosaic_onnx.analysis.explain import MOST_TRIED, diff_plans, explain_layer, explain_plan, proposal_of
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer, TransferCost
from mosaic_onnx.planner.core.request import PlacedSlice, Request
from mosaic_onnx.planner.core.simulate import simulate
from mosaic_onnx.planning.profile_plan import plan_of_slices, plan_profile
from tests.unit.planner.random_graphs import EVERYTHING, Kind, random_profile

OPS = ("Conv", "Conv", "Pad", "Conv", "Resize", "Conv")


def profile_with_gaps() -> Profile:
    """A chain that a fast GPU runs but for Pad and Resize, which the CPU must do; copies cost 1 ms each way."""
    layers = []
    for n, op in enumerate(OPS):
        cpu = Cost(0.010, 0.1)
        gpu = None if op in ("Pad", "Resize") else Cost(0.002, 0.05)
        seconds = {"cpu": cpu if op != "Resize" else Cost(0.001, 0.01), "gpu": gpu}
        layers.append(
            ProfileLayer(
                f"layer{n}",
                (f"t{n}",),
                (f"t{n + 1}",),
                seconds,
                reasons={"gpu": f"{op} is not supported"} if gpu is None else {},
                nodes=(f"node{n}",),
                op_types=(op,),
            )
        )
    copies = (TransferCost("host", "gpu", seconds=0.001), TransferCost("gpu", "host", seconds=0.001))
    tensors = {f"t{n}": 1000 for n in range(7)}
    devices = (Device("cpu"), Device("gpu"))
    return Profile("gaps", devices, tensors, ("t0",), ("t6",), tuple(layers), copies)


def test_a_layer_is_shown_with_its_cost_on_each_device_and_the_reason_where_it_has_none() -> None:
    profile = profile_with_gaps()
    explained = explain_layer(profile, plan_profile(profile), "layer2")
    assert explained.state == "cpu"
    assert {cost.state: cost.seconds for cost in explained.costs} == {"cpu": 0.010, "gpu": None}
    assert explained.costs[1].reason == "Pad is not supported"
    assert explained.op_types == ("Pad",)


def test_a_layer_is_shown_with_the_transfers_that_it_causes() -> None:
    profile = profile_with_gaps()
    explained = explain_layer(profile, plan_profile(profile), "layer2")
    assert [(t.tensor, t.source, t.destination) for t in explained.brought] == [("t2", "gpu", "host")]
    assert [(t.tensor, t.source, t.destination) for t in explained.sent] == [("t3", "host", "gpu")]


def test_a_layer_can_be_named_by_a_node_of_it() -> None:
    profile = profile_with_gaps()
    assert explain_layer(profile, plan_profile(profile), "node3").name == "layer3"


def test_an_unknown_layer_is_answered_with_names_that_are_near() -> None:
    profile = profile_with_gaps()
    with pytest.raises(UsageError, match="layer3"):
        explain_layer(profile, plan_profile(profile), "layr3")


def test_what_moving_a_layer_would_change_is_what_the_simulator_says() -> None:
    profile = profile_with_gaps()
    plan = plan_profile(profile)
    move = {move.state: move for move in explain_layer(profile, plan, "layer3").moves}["cpu"]
    moved = [PlacedSlice((0, 1), 1), PlacedSlice((2, 3, 4), 0), PlacedSlice((5,), 1)]
    after = simulate(cost_table(profile), tuple(moved)).seconds
    assert move.seconds == pytest.approx(after - plan.predicted.seconds)
    assert move.slice_count == 3


def test_a_layer_that_cannot_move_says_why() -> None:
    profile = profile_with_gaps()
    (move,) = explain_layer(profile, plan_profile(profile), "layer2").moves
    assert move.value is None
    assert "cannot run layer layer2" in move.reason


def test_no_single_move_improves_an_optimal_plan() -> None:
    for seed in range(10):
        profile = random_profile(np.random.default_rng(seed), Kind(5, 2))
        plan = plan_profile(profile, Request(time_limit_s=2.0))
        if plan.gap is not None and plan.gap < 1e-9:
            for layer in profile.layers:
                for move in explain_layer(profile, plan, layer.name).moves:
                    assert move.value is None or move.value > -1e-9


def test_boundaries_are_ranked_by_what_their_copies_cost() -> None:
    profile = profile_with_gaps()
    explained = explain_plan(profile, plan_profile(profile), time_limit_s=2.0)
    assert [boundary.seconds for boundary in explained.boundaries] == sorted(
        (boundary.seconds for boundary in explained.boundaries), reverse=True
    )
    total = sum(boundary.seconds for boundary in explained.boundaries)
    plan = plan_profile(profile)
    assert total == pytest.approx(sum(t.end_s - t.start_s for t in plan.transfers))
    inputs = [boundary for boundary in explained.boundaries if boundary.source is None]
    assert inputs[0].tensors == ("t0",)
    assert inputs[0].without is None


def test_all_copies_of_a_plan_belong_to_one_boundary_each() -> None:
    for seed in range(20):
        profile = random_profile(np.random.default_rng(seed), EVERYTHING)
        plan = plan_profile(profile, Request(time_limit_s=0.5))
        timeline = simulate(cost_table(profile), proposal_of(profile, plan))
        explained = explain_plan(profile, replace(plan, slices=plan.slices), time_limit_s=0.1)
        assert sum(b.seconds for b in explained.boundaries) == pytest.approx(sum(c.seconds for c in timeline.copies))
        assert explained.value == pytest.approx(plan.predicted.seconds)


def test_missing_operators_are_ranked_by_what_lifting_them_would_save() -> None:
    profile = profile_with_gaps()
    plan = plan_profile(profile)
    lifts = explain_plan(profile, plan, time_limit_s=5.0).lifts
    assert [(lift.operator, lift.device) for lift in lifts] == [("Pad", "gpu"), ("Resize", "gpu")]
    # With Pad on the GPU at a fifth of the CPU's time: 2 ms for 10 ms, and two copies of 1 ms fall away.
    assert lifts[0].seconds == pytest.approx(-0.010)
    assert lifts[0].change == lifts[0].seconds
    assert "0.2 × its time in cpu" in lifts[0].assumed
    assert "4 layers" in lifts[0].assumed
    assert lifts[0].layers == ("layer2",)


def test_an_operator_whose_lifting_saves_nothing_is_not_listed() -> None:
    profile = profile_with_gaps()
    layers = tuple(
        replace(layer, cost={**layer.cost, "cpu": Cost(0.0001, 0.01)}) if layer.op_types == ("Resize",) else layer
        for layer in profile.layers
    )
    cheap = replace(profile, layers=layers, copies=tuple(replace(copy, seconds=0.0) for copy in profile.copies))
    assert "Resize" in [lift.operator for lift in explain_plan(profile, plan_profile(profile), 5.0).lifts]
    slow = replace(
        cheap,
        layers=tuple(
            replace(layer, cost={**layer.cost, "gpu": Cost(0.02, 0.1)}) if layer.op_types == ("Conv",) else layer
            for layer in cheap.layers
        ),
    )
    assert explain_plan(slow, plan_profile(slow), 5.0).lifts == ()


def test_a_device_that_runs_nothing_gives_no_ground_to_assume_a_cost() -> None:
    profile = profile_with_gaps()
    layers = tuple(replace(layer, cost={"cpu": layer.cost["cpu"], "gpu": None}) for layer in profile.layers)
    nothing = replace(profile, layers=layers)
    assert explain_plan(nothing, plan_profile(nothing), 2.0).lifts == ()


def test_two_plans_differ_by_moved_layers_and_transfers() -> None:
    profile = profile_with_gaps()
    best = plan_profile(profile)
    other = plan_of_slices(profile, Request(), "by hand", (PlacedSlice((0, 1, 2, 3, 4, 5), 0),))
    diff = diff_plans(best, other, profile)
    assert [(moved.name, moved.before, moved.after) for moved in diff.moved] == [
        (f"layer{n}", "gpu", "cpu") for n in (0, 1, 3, 5)
    ]
    assert diff.seconds == pytest.approx(other.predicted.seconds - best.predicted.seconds)
    assert diff.joules == pytest.approx(other.predicted.joules - best.predicted.joules)
    assert diff.slices == (len(best.slices), 1)
    assert diff.kept_count == 2
    assert len(diff.transfers_gone) == len(best.transfers)
    assert diff.transfers_new == ()
    assert diff.bytes == -sum(transfer.bytes for transfer in best.transfers)
    assert diff.settings["method"][1] == "by hand"


def test_a_plan_does_not_differ_from_itself() -> None:
    profile = profile_with_gaps()
    plan = plan_profile(profile)
    diff = diff_plans(plan, plan)
    assert (diff.seconds, diff.moved, diff.transfers_gone, diff.settings) == (0.0, (), (), {})


def test_plans_of_different_profiles_are_not_compared() -> None:
    profile = profile_with_gaps()
    plan = plan_profile(profile)
    shorter = replace(plan, slices=plan.slices[:-1])
    with pytest.raises(ModelError, match="not of the same profile"):
        diff_plans(plan, shorter)
    with pytest.raises(ModelError, match="not the 6 layers"):
        explain_plan(profile, shorter)
    strange = replace(plan, slices=(replace(plan.slices[0], state="npu"), *plan.slices[1:]))
    with pytest.raises(ModelError, match="'npu'"):
        explain_layer(profile, strange, "layer0")


def test_of_many_boundaries_only_the_most_expensive_are_tried_without() -> None:
    layers, tensors = [], {"t0": 1000}
    for n in range(60):
        costs = {"cpu": Cost(0.010), "gpu": Cost(0.001)} if n % 2 else {"cpu": Cost(0.001), "gpu": Cost(0.010)}
        layers.append(ProfileLayer(f"layer{n}", (f"t{n}",), (f"t{n + 1}",), costs, nodes=(f"node{n}",)))
        tensors[f"t{n + 1}"] = 1000 * (n + 1)
    copies = (TransferCost("host", "gpu", 1e-9, 1e-5), TransferCost("gpu", "host", 1e-9, 1e-5))
    profile = Profile("zigzag", (Device("cpu"), Device("gpu")), tensors, ("t0",), ("t60",), tuple(layers), copies)
    found = explain_plan(profile, plan_profile(profile)).boundaries
    inner = [one for one in found if one.source is not None and one.destination is not None]
    tried = [one for one in inner if one.without is not None]
    assert len(inner) == 59
    assert len(tried) <= MOST_TRIED < len(inner)
    assert min(one.seconds for one in tried) >= max(one.seconds for one in inner if one.without is None)
    assert {one.reason for one in inner if one.without is None} == {
        f"not tried: only the {MOST_TRIED} most expensive are"
    }
