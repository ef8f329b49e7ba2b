"""The optimisation level of a slice is chosen by measurement, here by a scripted clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.base import Array, Memory, Runner, SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND as ORT
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import BackendError
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.profiling import interleaved
from mosaic_onnx.profiling.optimisation_level import AS_IT_IS, PickOptimisation, fastest
from mosaic_onnx.profiling.setup import ProfileOptions
from mosaic_onnx.rewriting.extracting import Extractor
from mosaic_onnx.rewriting.joint_optimise import Tune
from tests.unit.profiling.helpers import ScriptedClock, normalised

MODEL = normalised("""<ir_version: 9, opset_import: ["": 17]>
    g (float[1,8] x) => (float[1,8] y) { [a] h = Sin(x)  [b] y = Cos(h) }""")
GRAPH = layerize(MODEL, "node")
X = np.ones((1, 8), np.float32)
DEVICE = Device("cpu", backend="patient", options={"wait_ms": 4})
WHOLE = Slice((0, 1), "cpu", nodes=("a", "b"))
CLOCK = ScriptedClock()


@pytest.fixture(autouse=True)
def only_waiting_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "time", CLOCK)


@dataclass
class Waiting:
    """A slice that takes as long as its device says."""

    runner: Runner
    wait_s: float

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        CLOCK.sleep(self.wait_s)
        return self.runner.run(inputs)

    def close(self) -> None:
        self.runner.close()


@dataclass
class Patient:
    """ONNX Runtime, made slower by what a device's options say; refuses to wait 0 ms. Other levels: by their waits."""

    offered_ms: tuple[int, ...] = ()
    loaded: list[object] = field(default_factory=list)

    def load(self, model: SliceModel, device: Device) -> Waiting:
        self.loaded.append(device.options["wait_ms"])
        if device.options["wait_ms"] == 0:
            raise BackendError("no such level")
        return Waiting(ORT.load(model, Device("cpu", backend="onnxruntime")), float(device.options["wait_ms"]) / 1e3)

    def memory(self, device: Device) -> Memory | None:
        return None

    def optimisations(self, device: Device) -> Mapping[str, Device]:
        return {f"{each} ms": waiting(each) for each in self.offered_ms}

    def optimise(self, model: SliceModel, device: Device) -> SliceModel:
        return replace(model, is_optimised=True)


def waiting(milliseconds: int) -> Device:
    return replace(DEVICE, options={"wait_ms": milliseconds})


def chosen(*offered_ms: int) -> str:
    model = Extractor(MODEL.model, None).extract(["a", "b"])
    choices = {AS_IT_IS: DEVICE} | Patient(offered_ms).optimisations(DEVICE)
    return fastest(model, {"x": X}, Patient(), choices)


def picking(backend: Patient, folder: Path) -> PickOptimisation:
    return PickOptimisation(MODEL, GRAPH, {"cpu": DEVICE}, {"patient": backend}, ProfileOptions(cache=Cache(folder)))


def test_a_level_that_is_clearly_faster_is_chosen() -> None:
    assert chosen(8, 1, 2) == "1 ms"


def test_levels_that_gain_nothing_leave_the_device_as_it_is() -> None:
    assert chosen(4, 5, 8) == AS_IT_IS


def test_a_level_that_cannot_load_the_slice_is_passed_over() -> None:
    assert chosen(0, 1) == "1 ms"
    assert chosen(0) == AS_IT_IS


def test_what_was_chosen_is_kept_and_not_measured_again(tmp_path: Path) -> None:
    first, second = Patient((1,)), Patient((1,))
    assert picking(first, tmp_path)(WHOLE) == waiting(1)
    assert picking(second, tmp_path)(WHOLE) == waiting(1)
    assert first.loaded == [4, 1]
    assert second.loaded == []


def test_a_choice_for_the_device_as_it_is_is_kept_too(tmp_path: Path) -> None:
    first, second = Patient((9,)), Patient((9,))
    assert picking(first, tmp_path)(WHOLE) is None
    assert picking(second, tmp_path)(WHOLE) is None
    assert (len(first.loaded), second.loaded) == (2, [])


def test_layers_that_are_no_neighbours_are_left_as_they_are(tmp_path: Path) -> None:
    backend = Patient((1,))
    assert picking(backend, tmp_path)(Slice((1, 0), "cpu", nodes=("b", "a"))) is None
    assert backend.loaded == []


def test_a_slice_is_delivered_at_the_level_that_was_picked(tmp_path: Path) -> None:
    backend = Patient((1,))
    tune = Tune({"cpu": DEVICE}, {"patient": backend}, picking(backend, tmp_path))
    portable = Extractor(MODEL.model, None).extract(["a", "b"])
    plan = Plan("latency", "sequential", "test", (WHOLE,), (), Predicted(0.0, None, 0.0))
    assert [one.is_optimised for one in tune(MODEL.model, None, plan, [portable])] == [True]
    assert [one.is_optimised for one in replace(tune, pick=None)(MODEL.model, None, plan, [portable])] == [False]
    assert not portable.is_optimised


def test_onnx_runtimes_cpu_offers_its_levels_unless_one_was_asked_for() -> None:
    cpu = Device("cpu", backend="onnxruntime", options={"threads": 1})
    offered = ORT.optimisations(cpu)
    assert {name: device.options for name, device in offered.items()} == {
        name: {"threads": 1, "optimisation": name} for name in ("extended", "basic", "disabled")
    }
    assert ORT.optimisations(offered["basic"]) == {}


def test_a_slice_optimised_less_computes_the_same() -> None:
    cpu = Device("cpu", backend="onnxruntime", options={"threads": 1})
    portable = Extractor(MODEL.model, None).extract(["a", "b"])
    for device in ORT.optimisations(cpu).values():
        made = ORT.optimise(portable, device)
        assert made is not None
        assert isinstance(made.model, onnx.ModelProto)
        np.testing.assert_allclose(ORT.load(made, cpu).run({"x": X})["y"], np.cos(np.sin(X)), rtol=1e-6)
