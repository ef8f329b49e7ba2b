"""Do no harm: what is delivered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.base import Runner, SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.plans import Bound, Plan, Predicted, Slice
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.candidates import PLAN, Candidate, one_of_each, single_device_plan, worth_running
from mosaic_onnx.planning.contest import Effort, contest, contest_by_prediction, judged
from mosaic_onnx.planning.correction import corrected
from mosaic_onnx.planning.profile_plan import plan_profile
from mosaic_onnx.planning.throughput_contest import contest_by_rate, judged_by_rate, with_measured_interval
from mosaic_onnx.profiling.interleaved import InterleavedTimings

X = {"x": np.zeros(1, np.float32)}


def plan(seconds: float, joules: float | None = None, objective: str = "latency") -> Plan:
    return Plan(objective, "sequential", "test", (Slice((0,), "a"),), (), Predicted(seconds, joules, seconds))  # type: ignore[arg-type]


def candidate(name: str, of: Plan) -> Candidate:
    return Candidate(name, of, lambda _: ((), ()))


def timings(**seconds: float) -> InterleavedTimings:
    """Twenty rounds with a little scatter, the same in all."""
    return InterleavedTimings(
        {name: tuple(s * (1 + 0.001 * (i % 5)) for i in range(20)) for name, s in seconds.items()}, 1
    )


def test_a_short_contest_runs_the_plan_its_near_rivals_and_what_onnx_runtime_does_by_default() -> None:
    ort, other = Device("cpu", "onnxruntime"), Device("vino", "openvino")
    candidates = (
        candidate(PLAN, plan(0.9)),
        candidate("cpu", plan(1.5)),
        candidate("vino", plan(1.0)),
        candidate("near", plan(1.04)),
        replace(candidate("cpu by default", plan(1.5)), devices={"cpu": ort}, is_yardstick=True),
        replace(candidate("vino by default", plan(1.5)), devices={"vino": other}, is_yardstick=True),
    )
    names = [one.name for one in worth_running(candidates, 1.05)]
    assert names == [PLAN, "vino", "near", "cpu by default"]
    assert worth_running(candidates, float("inf")) == candidates


def test_of_each_device_and_its_runtimes_default_one_runs_and_that_is_the_default_of_onnx_runtime() -> None:
    ort, other = Device("cpu", "onnxruntime"), Device("vino", "openvino")
    candidates = (
        candidate(PLAN, plan(0.9)),
        candidate("cpu", plan(1.5)),
        candidate("vino", plan(1.0)),
        replace(candidate("cpu by default", plan(1.5)), devices={"cpu": ort}, is_yardstick=True),
        replace(candidate("vino by default", plan(1.5)), devices={"vino": other}, is_yardstick=True),
    )
    assert [one.name for one in one_of_each(candidates)] == [PLAN, "vino", "cpu by default"]
    assert [one.name for one in one_of_each(candidates[:3])] == [PLAN, "cpu", "vino"]


def test_a_plan_that_is_a_device_whose_default_ran_for_it_is_delivered_as_that() -> None:
    found = judged(timings(default=1.0, vino=2.0), {}, twin="cpu", yardsticks={"default": 1.0})
    assert found.winner == "default"
    assert found.reason == "the plan is cpu alone, which runs as its runtime does by default"


def test_a_plan_that_is_clearly_faster_is_delivered() -> None:
    found = judged(timings(plan=1.0, cpu=2.0, npu=1.5), {})
    assert found.winner == PLAN
    assert "npu" in found.reason
    assert found.ratio is not None
    assert found.ratio.high < 1


def test_a_plan_that_is_slower_gives_way_to_the_best_single_device() -> None:
    assert judged(timings(plan=2.0, cpu=1.5, npu=1.9), {}).winner == "cpu"


def test_where_nobody_can_tell_them_apart_the_simpler_one_wins() -> None:
    scatter = InterleavedTimings(
        {
            "plan": tuple(1.0 + 0.1 * (i % 7) for i in range(21)),
            "cpu": tuple(1.0 + 0.1 * ((i + 3) % 7) for i in range(21)),
        },
        1,
    )
    found = judged(scatter, {})
    assert found.winner == "cpu"
    assert "cannot be told apart" in found.reason


def test_a_plan_that_cannot_run_gives_way() -> None:
    found = judged(timings(cpu=1.0), {PLAN: "slice 1 on npu: broken"})
    assert found.winner == "cpu"
    assert "slice 1 on npu: broken" in found.reason


def test_a_plan_that_is_one_device_is_run_once_for_both() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 17]>
        g (float[1] x) => (float[1] y) { y = Relu (x) }""")
    one = SliceModel(model, None, ("x",), ("y",))
    loaded: list[str] = []

    class Counting:
        def load(self, model: SliceModel, device: Device) -> Runner:
            loaded.append(device.name)
            return ORT.load(model, Device("cpu", backend="onnxruntime"))

        def memory(self, device: Device) -> None:
            return None

    candidates = [Candidate(name, plan(1.0), lambda _: ((one,), (one,))) for name in (PLAN, "a")]
    places: dict[str, Any] = {"counting": Counting()}
    found = contest(candidates, {"a": Device("a", backend="counting")}, places, X, ["y"], Effort(round_count=3))
    assert loaded == ["a"]
    assert (found.winner, found.reason) == ("a", "the plan is a alone")
    assert found.timings is not None
    assert found.timings.seconds[PLAN] == found.timings.seconds["a"]


def test_a_plan_without_rivals_is_delivered() -> None:
    assert judged(timings(plan=1.0), {}).winner == PLAN


@pytest.mark.parametrize(
    ("objective", "of_plan", "of_device", "winner"),
    [
        ("latency", plan(1.0), plan(2.0), PLAN),
        ("latency", plan(2.0), plan(2.0), "a"),
        ("energy", plan(2.0, 1.0, "energy"), plan(1.0, 3.0, "energy"), PLAN),
        ("edp", plan(2.0, 2.0, "edp"), plan(1.0, 3.0, "edp"), "a"),
    ],
)
def test_what_no_clock_measures_is_judged_by_the_prediction_and_said_so(
    objective: str, of_plan: Plan, of_device: Plan, winner: str
) -> None:
    found = contest_by_prediction([candidate(PLAN, of_plan), candidate("a", of_device)])
    assert found.winner == winner
    assert "predicted (not measured)" in found.reason


def test_a_device_that_cannot_run_a_layer_is_no_rival() -> None:
    layers = (
        ProfileLayer("l0", ("x",), ("y",), {"a": Cost(1.0), "b": Cost(1.0)}),
        ProfileLayer("l1", ("y",), ("z",), {"a": Cost(1.0), "b": None}, {"b": "no"}),
    )
    profile = Profile("two", (Device("a"), Device("b")), {"x": 4, "y": 4, "z": 4}, ("x",), ("z",), layers)
    planned = plan_profile(profile, Request())
    alone = single_device_plan(profile, "a", planned)
    assert alone is not None
    assert alone.predicted.seconds == 2.0
    assert single_device_plan(profile, "b", planned) is None


def test_no_candidate_that_runs_is_an_error_that_says_why() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 17]>
        g (float[1] x) => (float[1] y) { y = Relu (x) }""")
    one = SliceModel(model, None, ("x",), ("y",))
    broken = Candidate("a", plan(1.0), lambda _: ((one,), (one,)))

    class Broken:
        name = "broken"

        def load(self, *_: object) -> None:
            raise BackendError("out of order")

        def memory(self, *_: object) -> None:
            return None

    with pytest.raises(BackendError, match="out of order"):
        contest([broken], {"a": Device("a", backend="broken")}, {"broken": Broken()}, X, ("y",))  # type: ignore[dict-item]


def test_what_users_run_today_is_delivered_unless_something_is_surely_as_fast() -> None:
    usual = ["cpu, runtime's default"]
    seconds = {"plan": 1.0, "cpu": 0.9, usual[0]: 0.8}
    assert judged(timings(**seconds), {}, yardsticks=dict.fromkeys(usual, 1.0)).winner == usual[0]
    assert judged(timings(**{**seconds, "cpu": 0.7}), {}, yardsticks=dict.fromkeys(usual, 1.0)).winner == "cpu"
    assert judged(timings(**{**seconds, "plan": 0.7}), {}, yardsticks=dict.fromkeys(usual, 1.0)).winner == PLAN
    noisy = InterleavedTimings(
        {
            "plan": tuple(1.0 + 0.1 * (i % 7) for i in range(21)),
            usual[0]: tuple(1.02 + 0.1 * ((i + 3) % 7) for i in range(21)),
        },
        1,
    )
    found = judged(noisy, {}, yardsticks=dict.fromkeys(usual, 1.0))
    assert found.winner == usual[0]


@pytest.mark.parametrize(
    ("scatter", "predicted_s", "delivered"),
    [(0.02, 1.4, "cpu by default"), (0.4, 1.05, "cpu by default"), (0.4, 1.4, "vino by default")],
)
def test_of_what_users_run_today_the_fastest_is_delivered_and_where_noise_hides_it_the_one_that_is_predicted_to_be(
    scatter: float, predicted_s: float, delivered: str
) -> None:
    around = [1 + scatter * (i % 7 - 3) / 3 for i in range(21)]
    noisy = InterleavedTimings(
        {
            "vino": tuple(1.05 * around[(i + 5) % 21] for i in range(21)),
            "cpu by default": tuple(around),
            "vino by default": tuple(1.04 * around[(i + 3) % 21] for i in range(21)),
        },
        1,
    )
    found = judged(noisy, {PLAN: "it broke"}, yardsticks={"cpu by default": predicted_s, "vino by default": 1.0})
    assert found.winner == delivered
    assert ("cannot be told apart" in found.reason) == (delivered == "vino by default")


def test_a_device_whose_threads_the_user_chose_has_no_yardstick() -> None:
    assert ORT.runtime_default(Device("cpu", backend="onnxruntime", options={"threads": 1})) is None
    gpu = Device("gpu", backend="onnxruntime", options={"provider": "CUDAExecutionProvider"})
    assert ORT.runtime_default(gpu) is None
    default = ORT.runtime_default(Device("cpu", backend="onnxruntime"))
    assert default is not None
    assert dict(default.options) == {"runtime_default": True}


def test_a_prediction_is_corrected_to_what_was_measured() -> None:
    layers = tuple(
        ProfileLayer(f"l{at}", (f"t{at}",), (f"t{at + 1}",), {"cpu": Cost(1e-3), "npu": Cost(2e-3)}) for at in range(3)
    )
    sizes = {f"t{at}": 4 for at in range(4)}
    profile = Profile("m", (Device("cpu"), Device("npu")), sizes, ("t0",), ("t3",), layers)
    whole = single_device_plan(profile, "cpu", plan(1.0))
    assert whole is not None
    found = corrected(profile, whole, 4.5e-3)
    assert found is not None
    assert found[1].predicted.seconds == pytest.approx(4.5e-3)
    again = single_device_plan(found[0], "cpu", plan(1.0))  # profile and plan say the same
    assert again is not None
    assert again.predicted.seconds == pytest.approx(4.5e-3)
    scattered = Plan("latency", "sequential", "t", (Slice((0, 2), "cpu", 0.0, 1.0),), (), Predicted(1.0, None, 1.0))
    assert corrected(profile, scattered, 2.0) is None


def rate_candidate(name: str, *states: str, replicas: tuple[str, ...] = ()) -> Candidate:
    slices = tuple(Slice((number,), state) for number, state in enumerate(states))
    made = Plan("throughput", "sequential", "test", slices, (), Predicted(1.0, None, 1.0), replicas=replicas)
    return Candidate(name, made, lambda _: ((), ()))


PIPELINE, REPLICAS = rate_candidate(PLAN, "a", "b"), rate_candidate("alternative 1", "a", replicas=("b",))
ALONE = rate_candidate("a", "a")


def test_of_two_plans_the_one_that_answers_more_requests_is_delivered() -> None:
    measured = timings(**{"plan": 1.0, "alternative 1": 0.6, "a": 1.1})
    found = judged_by_rate(measured, {}, [PIPELINE, REPLICAS, ALONE])
    assert found.winner == "alternative 1"
    assert found.is_rate
    assert "1.83 times the requests a second of a" in found.reason


def test_a_plan_that_answers_no_more_requests_than_one_device_gives_way_to_it() -> None:
    measured = timings(**{"plan": 1.0, "alternative 1": 1.2, "a": 0.99})
    assert judged_by_rate(measured, {}, [PIPELINE, REPLICAS, ALONE]).winner == "a"


def test_a_plan_for_throughput_is_predicted_to_do_what_it_did() -> None:
    planned = replace(PIPELINE.plan, bound=Bound(0.9, "seconds", "area"), gap=0.1)
    slower = with_measured_interval(planned, 1.8)
    assert (slower.predicted.interval_seconds, slower.gap) == (1.8, pytest.approx(1.0))
    faster = with_measured_interval(planned, 0.8)
    assert (faster.predicted.interval_seconds, faster.bound, faster.gap) == (0.8, None, None)


@pytest.mark.slow
def test_real_devices_are_measured_by_the_requests_they_answer() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 17]>
        small (float[1] x) => (float[1] y) { y = Sigmoid (x) }""")
    whole = (SliceModel(model, None, ("x",), ("y",)),)
    devices = {name: Device(name, "onnxruntime", options={"threads": 1}) for name in ("a", "b")}
    candidates = [replace(one, cut=lambda _: (whole, whole)) for one in (REPLICAS, ALONE)]
    found = contest_by_rate(candidates, devices, {"onnxruntime": ORT}, X, ("y",), Effort(3, 0.1))
    assert found.timings is not None
    assert set(found.timings.seconds) == {"alternative 1", "a"}
    assert not found.failed
