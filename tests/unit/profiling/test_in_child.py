"""Plans that are measured together: one whose device fails is left out, the others are measured nevertheless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from mosaic_onnx.core.errors import DeviceError
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.profiling.interleaved import InterleavedTimings
from mosaic_onnx.profiling.whole_plans import in_child
from mosaic_onnx.profiling.whole_plans.child import DeviceDied
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine, PlanToRun, TimedPlans

MACHINE = Machine({}, {})


@dataclass
class Children:
    """Stands for the children: which plans each one loaded, and what happens when."""

    on_load: Mapping[str, DeviceError] = field(default_factory=dict)
    on_measure: Mapping[str, DeviceError] = field(default_factory=dict)
    """by a device of the plans that are measured"""
    loaded: list[list[str]] = field(default_factory=list)

    def __call__(self, *_: object) -> Children:
        self.loaded.append([])
        return self

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def load(self, one: PlanToRun) -> int:
        name = one.plan.method
        if name in self.on_load:
            raise self.on_load[name]
        self.loaded[-1].append(name)
        return len(self.loaded[-1])

    def measure(self, numbers: Mapping[str, int]) -> InterleavedTimings:
        assert list(numbers) == self.loaded[-1]
        for device, error in self.on_measure.items():
            if any(device in PLANS[name].devices for name in numbers):
                raise error
        return InterleavedTimings({name: (1.0,) for name in numbers}, 1)


def plan_on(name: str, *devices: str) -> PlanToRun:
    slices = tuple(Slice((number,), device, 0.0, 1.0) for number, device in enumerate(devices))
    return PlanToRun(Plan("latency", "sequential", name, slices, (), Predicted(1.0, None, 1.0)), ())


PLANS = {one.plan.method: one for one in (plan_on("a", "cpu"), plan_on("b", "npu"), plan_on("both", "cpu", "npu"))}


def measured(children: Children, monkeypatch: pytest.MonkeyPatch) -> TimedPlans:
    monkeypatch.setattr(in_child, "ProgramChild", children)
    return in_child.measured_in_child(PLANS, MACHINE, {}, (), Children.load, Children.measure)  # type: ignore[arg-type]


def names_of(found: TimedPlans) -> list[str]:
    return [] if found.timings is None else list(found.timings.seconds)


def test_plans_that_run_are_measured_in_one_child(monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children()
    found = measured(children, monkeypatch)
    assert (names_of(found), found.failed) == (["a", "b", "both"], {})
    assert children.loaded == [["a", "b", "both"]]


def test_a_plan_that_is_refused_leaves_the_child_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children({"b": DeviceError("no such operator", device="npu")})
    found = measured(children, monkeypatch)
    assert (names_of(found), found.failed) == (["a", "both"], {"b": "no such operator"})
    assert children.loaded == [["a", "both"]]


def test_after_a_death_what_needs_no_dead_device_is_measured_in_another_child(monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children({"b": DeviceDied("npu took its process with it", device="npu")})
    found = measured(children, monkeypatch)
    assert names_of(found) == ["a"]
    assert set(found.failed) == {"b", "both"}
    assert children.loaded == [["a"], ["a"]]


def test_a_device_that_fails_while_plans_are_measured_takes_its_plans_out(monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children(on_measure={"npu": DeviceError("npu failed", device="npu")})
    found = measured(children, monkeypatch)
    assert (names_of(found), set(found.failed)) == (["a"], {"b", "both"})


def test_a_refused_plan_keeps_its_own_reason_when_a_device_fails_later(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"b": DeviceError("no such operator", device="npu")}
    children = Children(refused, on_measure={"npu": DeviceError("npu failed", device="npu")})
    found = measured(children, monkeypatch)
    assert (names_of(found), found.failed) == (["a"], {"b": "no such operator", "both": "npu failed"})


def test_where_nobody_knows_which_device_failed_no_plan_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children(on_measure={"cpu": DeviceError("the child is gone")})
    found = measured(children, monkeypatch)
    assert (found.timings, set(found.failed)) == (None, {"a", "b", "both"})
