from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.base import Array, KernelTime, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InputsRefusedError
from mosaic_onnx.core.layers import Layer, LayerGraph, TensorInfo
from mosaic_onnx.core.progress import Step
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.profiling.aggregate import in_place_seconds, state_costs
from mosaic_onnx.profiling.attribution import KernelShare, sharing_layers
from mosaic_onnx.profiling.device_profiler import DeviceProfiler, DeviceTimings, ProfilingEffort, consecutive_layers
from mosaic_onnx.profiling.digest import Digest
from mosaic_onnx.profiling.measurement_store import Conditions, MeasurementStore
from mosaic_onnx.profiling.measuring.copies import CopyTimes
from mosaic_onnx.profiling.measuring.slices import SliceMeasurement, SliceTrial
from mosaic_onnx.profiling.measuring.timing import TimeBudget
from mosaic_onnx.profiling.profiled_model import ProfiledModel, Span
from mosaic_onnx.profiling.progress import Ticker

DEVICE = Device("npu", backend="fake")
Answer = Callable[[Span], SliceMeasurement]


def chain_graph(count: int, ops: Mapping[int, str] | None = None) -> LayerGraph:
    """t0 → layer 0 → t1 → layer 1 → …"""
    layers = tuple(
        Layer(f"l{i}", (f"n{i}",), ((ops or {}).get(i, "Relu"),), (f"t{i}",), (f"t{i + 1}",)) for i in range(count)
    )
    tensors = {f"t{i}": TensorInfo(f"t{i}", 1, (4,), 16) for i in range(count + 1)}
    return LayerGraph(layers, tensors, ("t0",), (f"t{count}",))


def chain_extract(keys: Sequence[str], outputs: Sequence[str]) -> SliceModel:
    nodes = [onnx.helper.make_node("Relu", [f"t{int(key[1:])}"], [f"t{int(key[1:]) + 1}"], key) for key in keys]
    graph = onnx.helper.make_graph(nodes, "part", [], [])
    return SliceModel(onnx.helper.make_model(graph), None, (nodes[0].input[0],), tuple(outputs))


@dataclass
class Tensors:
    is_right: bool = True
    refusal: InputsRefusedError | None = None
    notes: list[str] = field(default_factory=list)
    asked: list[set[str]] = field(default_factory=list)

    def __call__(self, names: Collection[str]) -> Mapping[str, Array]:
        self.asked.append(set(names))
        return {name: np.full(4, len(self.asked), np.float32) for name in names}


@dataclass
class ScriptedMeter:
    """Answers by the layers of a slice, and remembers what it was asked."""

    answer: Answer
    kernel_s: Mapping[int, float] = field(default_factory=dict)
    asked: list[Span] = field(default_factory=list)
    session_count: int = 0

    def measure_with_kernels(
        self, model: SliceModel, trial: SliceTrial
    ) -> tuple[SliceMeasurement, tuple[KernelTime, ...]]:
        self.session_count -= 1  # one for both
        return self.measure(model, trial), self.kernels(model, trial.inputs, trial.budget)

    def measure(self, model: SliceModel, trial: SliceTrial) -> SliceMeasurement:
        if model.model.graph.name == "least":
            return SliceMeasurement(seconds=0.001)
        self.session_count += 1
        layers = [int(node.output[0][1:]) - 1 for node in model.model.graph.node]
        self.asked.append((layers[0], layers[-1]))
        return self.answer((layers[0], layers[-1]))

    def kernels(self, model: SliceModel, inputs: Mapping[str, Array], budget: TimeBudget) -> tuple[KernelTime, ...]:
        self.session_count += 1
        layers = [int(node.output[0][1:]) - 1 for node in model.model.graph.node]
        return tuple(KernelTime(f"t{layer + 1}", self.kernel_s[layer]) for layer in layers if layer in self.kernel_s)

    def probe(self, model: SliceModel) -> SliceMeasurement:
        raise AssertionError("the profiler measures slices, it does not only compile them")

    def copies(self, budget: TimeBudget) -> CopyTimes | None:
        return None

    def close(self) -> None:
        pass


def run(
    meter: ScriptedMeter,
    count: int = 4,
    *,
    digests: Sequence[str] = (),
    claims: Mapping[int, str] | None = None,
    times_kernels: bool = False,
    cache: Cache | None = None,
    effort: ProfilingEffort | None = None,
    ticker: Ticker | None = None,
) -> DeviceTimings:
    graph = chain_graph(count)
    names = [Digest(text) for text in (digests or [f"d{i}" for i in range(count)])]
    profiled = ProfiledModel(graph, names, {f"t{i + 1}": i for i in range(count)}, chain_extract, Tensors())
    timings = DeviceTimings(DEVICE, dict(claims or {}))
    store = MeasurementStore(cache, DEVICE, None, Conditions({}, {}, ""))
    DeviceProfiler(
        profiled, timings, meter, store, effort or ProfilingEffort(), ticker or Ticker(), times_kernels
    ).run()
    return timings


def fine(span: Span) -> SliceMeasurement:
    return SliceMeasurement(seconds=0.001 + 0.010 * (span[1] - span[0] + 1), error=0.0)


def failing_at(*bad: int) -> Answer:
    return lambda span: (
        SliceMeasurement("does not compile: no") if any(span[0] <= b <= span[1] for b in bad) else fine(span)
    )


def test_without_kernel_times_each_layer_is_measured_alone_and_the_whole_as_well() -> None:
    meter = ScriptedMeter(fine)
    timings = run(meter)
    assert set(timings.alone) == {0, 1, 2, 3}
    assert timings.slices[0, 3].seconds == pytest.approx(0.041)
    assert timings.refused == {}


def test_equal_layers_are_measured_once() -> None:
    meter = ScriptedMeter(fine)
    timings = run(meter, digests=["a", "b", "a", "a"])
    assert sorted(span for span in meter.asked if span[0] == span[1]) == [(0, 0), (1, 1)]
    assert set(timings.alone) == {0, 1, 2, 3}


def test_a_stretch_that_runs_proves_its_layers() -> None:
    meter = ScriptedMeter(fine, {0: 0.01, 1: 0.02, 2: 0.0, 3: 0.01})
    timings = run(meter, times_kernels=True, effort=ProfilingEffort(alone_s=0.0))
    assert meter.asked[0] == (0, 3)
    assert timings.in_place == {0: KernelShare(0.01), 1: KernelShare(0.02), 2: KernelShare(), 3: KernelShare(0.01)}
    assert timings.refused == {}


def test_a_quick_profile_compiles_a_stretch_once_and_learns_the_same() -> None:
    found, sessions = [], []
    for one_session in (False, True):
        meter = ScriptedMeter(fine, {0: 0.01, 1: 0.02, 2: 0.0, 3: 0.01})
        found.append(run(meter, times_kernels=True, effort=ProfilingEffort(alone_s=0.0, one_session=one_session)))
        sessions.append(meter.session_count)
    usual, quick = found
    assert (quick.in_place, quick.slices.keys()) == (usual.in_place, usual.slices.keys())
    assert sessions[1] == sessions[0] - 1


def test_a_stretch_that_fails_in_a_quick_profile_sends_its_layers_to_the_test_too() -> None:
    meter = ScriptedMeter(failing_at(1), dict.fromkeys(range(5), 0.01))
    timings = run(meter, 5, times_kernels=True, effort=ProfilingEffort(one_session=True))
    assert timings.refused == {1: "does not compile: no"}
    assert list(timings.slices) == [(2, 4)]


def test_the_costliest_proved_layers_are_measured_alone_too() -> None:
    meter = ScriptedMeter(fine, {0: 0.01, 1: 0.04, 2: 0.02, 3: 0.01})
    run(meter, times_kernels=True, effort=ProfilingEffort(layer=TimeBudget(0.03), alone_s=0.12))
    assert sorted(span for span in meter.asked if span[0] == span[1]) == [(1, 1), (2, 2)]


def test_a_layer_that_fails_is_found_and_the_stretches_around_it_are_measured() -> None:
    meter = ScriptedMeter(failing_at(1), dict.fromkeys(range(5), 0.01))
    timings = run(meter, 5, times_kernels=True)
    assert timings.refused == {1: "does not compile: no"}
    assert list(timings.slices) == [(2, 4)]
    assert set(timings.alone) >= {0, 2, 3, 4}


def test_a_claim_against_a_layer_spares_trying_it() -> None:
    meter = ScriptedMeter(fine)
    timings = run(meter, 3, claims={1: "no such operator"})
    assert timings.refused == {1: "no such operator"}
    assert (1, 1) not in meter.asked
    assert all(not span[0] <= 1 <= span[1] for span in meter.asked)


def test_a_wrong_result_alone_is_a_reason() -> None:
    meter = ScriptedMeter(
        lambda span: SliceMeasurement(seconds=0.01, wrong="output 't2' is off" if span == (1, 1) else "")
    )
    assert run(meter).refused == {1: "its result is wrong: output 't2' is off"}


def test_a_stretch_with_a_wrong_result_sends_each_of_its_layers_to_the_test() -> None:
    meter = ScriptedMeter(
        lambda span: SliceMeasurement(seconds=0.01, wrong="off" if span[0] <= 2 <= span[1] else ""),
        dict.fromkeys(range(4), 0.01),
    )
    timings = run(meter, times_kernels=True)
    assert list(timings.refused) == [2]
    assert (0, 3) not in timings.slices
    assert (0, 1) in timings.slices


def test_a_stretch_that_is_off_though_its_layers_are_sound_only_rounds() -> None:
    meter = ScriptedMeter(
        lambda span: SliceMeasurement(seconds=0.04, wrong="off" if span == (0, 3) else ""),
        dict.fromkeys(range(4), 0.01),
    )
    timings = run(meter, times_kernels=True)
    assert timings.refused == {}
    assert timings.slices[0, 3].seconds == 0.04
    assert set(timings.alone) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("looks_again", "is_disturbed", "least_s"),
    [
        ("disturbed", True, 0.2),
        ("disturbed", False, 0.9),
        ("always", False, 0.2),
        ("never", True, 0.9),
    ],
)
def test_slices_are_measured_a_second_time_and_the_lesser_figure_counts(
    looks_again: Literal["always", "disturbed", "never"], is_disturbed: bool, least_s: float
) -> None:
    seconds = iter([0.9, 0.2, 0.3])

    def noisy(span: Span) -> SliceMeasurement:
        return SliceMeasurement(seconds=next(seconds), is_disturbed=is_disturbed) if span == (0, 1) else fine(span)

    effort = ProfilingEffort(looks_again=looks_again)
    assert run(ScriptedMeter(noisy), 2, effort=effort).slices[0, 1].seconds == least_s


@pytest.mark.parametrize("times_kernels", [False, True])
def test_a_second_survey_measures_nothing(tmp_path: Path, times_kernels: bool) -> None:
    cache = Cache(tmp_path)
    first = run(ScriptedMeter(fine, dict.fromkeys(range(4), 0.01)), times_kernels=times_kernels, cache=cache)
    meter = ScriptedMeter(fine, dict.fromkeys(range(4), 0.01))
    assert run(meter, times_kernels=times_kernels, cache=cache) == first
    assert meter.asked == []


def test_what_other_load_disturbed_is_measured_again_next_time(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    run(ScriptedMeter(lambda span: replace(fine(span), is_disturbed=span == (2, 2))), cache=cache)
    meter = ScriptedMeter(fine)
    run(meter, cache=cache)
    assert (2, 2) in meter.asked
    assert (1, 1) not in meter.asked


@pytest.mark.parametrize(("times_kernels", "one_session"), [(False, False), (True, False), (True, True)])
def test_what_is_disturbed_every_time_is_known_after_three_times_by_its_least(
    tmp_path: Path, times_kernels: bool, one_session: bool
) -> None:
    effort = ProfilingEffort(one_session=one_session)
    cache, seconds = Cache(tmp_path), iter([0.5, 0.3, 0.4, 0.2])
    surveys, kernels = [], dict.fromkeys(range(4), 0.01)
    for _ in range(3):

        def busy(span: Span) -> SliceMeasurement:
            return SliceMeasurement(seconds=next(seconds), is_disturbed=True) if span == (0, 1) else fine(span)

        meter = ScriptedMeter(busy, kernels)
        surveys.append(
            (run(meter, 2, times_kernels=times_kernels, cache=cache, effort=effort), meter.asked.count((0, 1)))
        )
    assert [asked for _, asked in surveys] == [2, 1, 0]
    assert [survey.slices[0, 1].seconds for survey, _ in surveys] == [0.3, 0.3, 0.3]


def test_a_crash_is_tried_again_next_time_and_a_refusal_is_not(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def broken(span: Span) -> SliceMeasurement:
        return (
            SliceMeasurement("crashed", is_lasting=False) if span[0] == 0 else SliceMeasurement("does not compile: no")
        )

    run(ScriptedMeter(broken), 2, cache=cache)
    meter = ScriptedMeter(broken)
    run(meter, 2, cache=cache)
    assert meter.asked == [(0, 0)]


def test_an_interruption_keeps_what_was_found(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def interrupted(span: Span) -> SliceMeasurement:
        if span == (2, 2):
            raise KeyboardInterrupt
        return fine(span)

    with pytest.raises(KeyboardInterrupt):
        run(ScriptedMeter(interrupted), cache=cache)
    meter = ScriptedMeter(fine)
    run(meter, cache=cache)
    assert (0, 0) not in meter.asked
    assert (2, 2) in meter.asked


def test_progress_counts_up_to_all() -> None:
    told: list[Step] = []
    run(ScriptedMeter(fine), ticker=Ticker(told.append))
    assert told[-1].done_count == told[-1].total_count > 4
    assert {(step.stage, step.device) for step in told} == {("profile", DEVICE.name)}
    counts = [step.done_count for step in told]
    assert counts == sorted(counts)


def test_stretches_are_runs_of_consecutive_layers() -> None:
    assert consecutive_layers([5, 0, 1, 3, 4, 7]) == [(0, 1), (3, 5), (7, 7)]
    assert consecutive_layers([]) == []


def findings_with(in_place_s: Mapping[int, float] | None = None, **fields: object) -> DeviceTimings:
    in_place = {layer: KernelShare(seconds) for layer, seconds in (in_place_s or {}).items()}
    return DeviceTimings(DEVICE, in_place=in_place, **fields)  # type: ignore[arg-type]


def test_layers_in_place_add_up_to_the_stretch() -> None:
    timings = findings_with(in_place_s={0: 1.0, 1: 3.0}, slices={(0, 1): SliceMeasurement(seconds=4.8)}, slice_s=0.8)
    costs = state_costs(timings, chain_graph(2))
    assert costs.layer_s == pytest.approx({0: 1.0, 1: 3.0})
    timings.slices[0, 1] = SliceMeasurement(seconds=6.8)
    assert state_costs(timings, chain_graph(2)).layer_s == pytest.approx({0: 1.5, 1: 4.5})
    assert state_costs(timings, chain_graph(2)).segments == {(0, 1): 6.8}


def test_layers_alone_pay_the_call_once() -> None:
    costs = state_costs(
        findings_with(alone={0: SliceMeasurement(seconds=1.2), 1: SliceMeasurement(seconds=3.2)}, slice_s=0.2),
        chain_graph(2),
    )
    assert costs.layer_s == pytest.approx({0: 1.0, 1: 3.0})
    assert costs.slice_s == pytest.approx(0.2)
    assert costs.alone_s == pytest.approx({0: 1.2, 1: 3.2})


def test_the_cut_penalty_is_the_median_of_what_layers_cost_more_alone() -> None:
    alone = {layer: SliceMeasurement(seconds=1.0 + penalty) for layer, penalty in enumerate([0.1, 0.3, 0.7])}
    timings = findings_with(in_place_s=dict.fromkeys(range(3), 1.0), alone=alone, slice_s=0.01)
    assert state_costs(timings, chain_graph(3)).slice_s == pytest.approx(0.3)


def test_a_layer_is_never_cheaper_alone_than_in_place() -> None:
    timings = findings_with(in_place_s={0: 1.0}, alone={0: SliceMeasurement(seconds=0.9)}, slice_s=0.01)
    costs = state_costs(timings, chain_graph(1))
    assert costs.alone_s == {0: 1.0}
    assert costs.slice_s == 0.01


def test_a_disturbed_kernel_counts_little_more_than_its_layer_alone() -> None:
    timings = findings_with(
        in_place_s={0: 9.0, 1: 1.0}, alone={0: SliceMeasurement(seconds=2.0), 1: SliceMeasurement(seconds=1.5)}
    )
    assert state_costs(timings, chain_graph(2)).layer_s == {0: 2.5, 1: 1.0}


def test_layers_that_share_a_kernel_share_its_time_as_they_do_alone() -> None:
    alone = {0: 6.0, 1: 2.0, 2: 1.0}
    named_by_the_last = {0: KernelShare(), 1: KernelShare(8.0), 2: KernelShare(1.0)}
    assert in_place_seconds(named_by_the_last, alone, chain_graph(3)) == {0: 6.0, 1: 2.0, 2: 1.0}
    named_by_the_first = {0: KernelShare(4.0), 1: KernelShare(rides_with=0), 2: KernelShare(1.0)}
    assert in_place_seconds(named_by_the_first, alone, chain_graph(3)) == {0: 3.0, 1: 1.0, 2: 1.0}


def test_without_figures_alone_a_kernel_counts_for_the_layer_that_it_names() -> None:
    assert in_place_seconds({0: KernelShare(), 1: KernelShare(8.0)}, {}, chain_graph(2)) == {0: 0.0, 1: 8.0}
    too_short = {0: 0.0, 1: 0.0}
    assert in_place_seconds({0: KernelShare(), 1: KernelShare(8.0)}, too_short, chain_graph(2)) == {0: 0.0, 1: 8.0}


def test_a_layer_without_a_kernel_at_the_end_belongs_to_its_maker() -> None:
    assert sharing_layers({0: KernelShare(1.0), 1: KernelShare()}, chain_graph(2)) == [[0, 1]]


def test_layers_without_any_kernel_are_one_group() -> None:
    assert sharing_layers({0: KernelShare(), 1: KernelShare()}, chain_graph(2)) == [[0, 1]]


def test_a_spoilt_stretch_does_not_scale_its_layers() -> None:
    timings = findings_with(in_place_s={0: 1.0}, slices={(0, 0): SliceMeasurement(seconds=50.0)})
    assert state_costs(timings, chain_graph(1)).layer_s == {0: 1.0}


def test_layers_not_measured_yet_are_absent() -> None:
    assert state_costs(findings_with(alone={1: SliceMeasurement(seconds=1.0)}), chain_graph(3)).layer_s == {1: 1.0}


def test_the_share_that_is_over_counts_devices_to_come_and_slices_more_than_layers() -> None:
    told: list[Step] = []
    ticker = Ticker(told.append, device_count=2)
    meter = ScriptedMeter(fine, dict.fromkeys(range(4), 0.01))
    run(meter, times_kernels=True, effort=ProfilingEffort(one_session=True), ticker=ticker)
    assert told[-1].share == pytest.approx(0.5)
    ticker.begin_device(1)
    run(ScriptedMeter(fine, dict.fromkeys(range(4), 0.01)), times_kernels=True, ticker=ticker)
    assert told[-1].share == pytest.approx(1.0)
    assert told[0].share < 0.5
