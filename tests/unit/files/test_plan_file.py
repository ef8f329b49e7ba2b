"""The plan file: what is read, what is refused with which path, what is written."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mosaic_onnx.core.errors import ModelError, UsageError
from mosaic_onnx.core.plans import Bound, Plan, Predicted, Slice, Transfer
from mosaic_onnx.files.plan_file import plan_from_json, plan_to_json, read_plan, write_plan

TINY: dict[str, Any] = {
    "schema": "mosaic-onnx/plan/1",
    "objective": "latency",
    "schedule": "sequential",
    "method": "interval",
    "constraints": {},
    "slices": [
        {"layers": [0], "state": "npu", "start_s": 0.0007, "end_s": 0.00115},
        {"layers": [1], "state": "cpu@1800MHz", "start_s": 0.001571408, "end_s": 0.003071408},
    ],
    "transfers": [
        {"tensor": "x", "from": "host", "to": "npu", "bytes": 602112, "start_s": 0.0, "end_s": 0.0007},
        {"tensor": "a", "from": "npu", "to": "host", "bytes": 401408, "start_s": 0.00115, "end_s": 0.001571408},
    ],
    "predicted": {"seconds": 0.003071408, "joules": 0.0036, "interval_seconds": 0.001571408},
    "bound": {"value": 0.003071408, "unit": "seconds", "method": "interval, exact"},
    "gap": 0.0,
}
"""The example of the format's description."""


def tiny() -> Plan:
    return plan_from_json(json.dumps(TINY))


def test_the_example_of_the_format_is_read() -> None:
    plan = tiny()
    assert plan.slices[1] == Slice((1,), "cpu@1800MHz", 0.001571408, 0.003071408)
    assert plan.transfers[0] == Transfer("x", "host", "npu", 602112, 0.0, 0.0007)
    assert plan.predicted == Predicted(0.003071408, 0.0036, 0.001571408)
    assert plan.bound == Bound(0.003071408, "seconds", "interval, exact")


def test_the_example_of_the_format_is_written_key_for_key() -> None:
    assert json.loads(plan_to_json(tiny())) == TINY
    assert list(json.loads(plan_to_json(tiny()))) == list(TINY)


def test_equal_plans_are_equal_bytes(tmp_path: Path) -> None:
    write_plan(tiny(), tmp_path / "a.json")
    write_plan(read_plan(tmp_path / "a.json"), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_plan_without_bound_and_energy_says_null() -> None:
    plan = replace(tiny(), bound=None, gap=None, predicted=Predicted(1.0, None, 1.0))
    content = json.loads(plan_to_json(plan))
    assert (content["bound"], content["gap"], content["predicted"]["joules"]) == (None, None, None)
    assert plan_from_json(plan_to_json(plan)) == plan


def test_nodes_and_meta_are_kept() -> None:
    first = replace(tiny().slices[0], nodes=("n1", "n2"), meta={"why": "fast"})
    plan = replace(tiny(), slices=(first, tiny().slices[1]), meta={"note": 1})
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("cost",), 1, "cost: unknown key"),
        (("slices", 0, "device"), "npu", "slices[0].device: unknown key"),
        (("slices", 0, "start_s"), -1.0, "slices[0].start_s"),
        (("slices", 0, "end_s"), 0.0, "slices[0].end_s: 0.0 is before start_s"),
        (("slices", 0, "layers"), [], "slices[0].layers"),
        (("slices", 1, "layers"), [0], "slices[1].layers[0]: layer 0 is already at slices[0].layers[0]"),
        (("slices", 1, "layers"), [2], "slices: no slice runs layer 1"),
        (("transfers", 0, "bytes"), -5, "transfers[0].bytes"),
        (("predicted", "seconds"), math.nan, "predicted.seconds: NaN"),
        (("bound", "unit"), "hours", "bound.unit"),
        (("objective",), "speed", "objective"),
        (("replicas",), ["cpu", "npu", "cpu"], "replicas[2]: 'cpu' has a replica already, replicas[0]"),
        (("schema",), "mosaic-onnx/profile/1", "schema is"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(path: tuple[str | int, ...], value: object, named: str) -> None:
    content = copy.deepcopy(TINY)
    target: Any = content
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(ModelError) as caught:
        plan_from_json(json.dumps(content))
    assert named in caught.value.message


@pytest.mark.parametrize("key", ["objective", "schedule", "method", "slices", "predicted"])
def test_a_missing_key_is_named(key: str) -> None:
    content = {name: value for name, value in TINY.items() if name != key}
    with pytest.raises(ModelError, match=f"{key}: missing"):
        plan_from_json(json.dumps(content))


def test_an_infinite_time_cannot_be_written() -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        plan_to_json(replace(tiny(), predicted=Predicted(math.inf, None, 0.0)))


def joint_fields() -> dict[str, object]:
    return json.loads(plan_to_json(tiny())) | {
        "objective": "sum-latency",
        "models": [{"name": "a", "first_layer": 0, "meta": {"latency_s": 0.5}}],
    }


def test_a_joint_plan_is_read_with_its_models_and_written_as_it_was() -> None:
    plan = plan_from_json(json.dumps(joint_fields()))
    assert (plan.objective, plan.is_latency_sum) == ("latency", True)
    assert [(one.name, one.first_layer, one.meta) for one in plan.models] == [("a", 0, {"latency_s": 0.5})]
    assert json.loads(plan_to_json(plan)) == joint_fields()


@pytest.mark.parametrize(
    ("models", "named"),
    [
        ([], "objective: sum-latency"),
        ([{"name": "a", "first_layer": 1}], r"models\[0\].first_layer: 1; it must be 0"),
        ([{"name": "a", "first_layer": 0}, {"name": "b", "first_layer": 99}], r"models\[1\].first_layer: 99"),
        ([{"name": "a", "first_layer": 0}, {"name": "b", "first_layer": 0}], r"models\[1\].first_layer: 0"),
        ([{"name": "a", "first_layer": 0, "last_layer": 1}], "last_layer: unknown key"),
    ],
)
def test_models_that_do_not_divide_the_layers_are_refused(models: object, named: str) -> None:
    with pytest.raises(ModelError, match=named):
        plan_from_json(json.dumps(joint_fields() | {"models": models}))
