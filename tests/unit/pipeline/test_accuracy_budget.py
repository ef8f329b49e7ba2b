"""Compiling within a budget of errors, with a device that really rounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.backends.onnxruntime.backend import BACKEND
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.core.profiles import Cost, Profile, ProfileLayer
from mosaic_onnx.discovery.registry import Inventory, left_out, select_devices
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.files.bundle import read_bundle
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.layering.layerize import layerize
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.pipeline.compilation import Compilation, compile_model
from mosaic_onnx.pipeline.delivery import deliver, replay
from mosaic_onnx.pipeline.open_bundle import verify_bundle
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.profiling.measure_errors import ErrorProfiler, is_lower
from mosaic_onnx.verification.precision.samples import gather_samples
from tests.unit.verification.precision.rough import CPU, ROUGH, RoughBackend, chain_model, normalised


def selection(*devices: Device) -> Selection:
    return Selection(devices, devices, (), (), {"onnxruntime": BACKEND, "rough": RoughBackend()}, {})


def compiled(folder: Path, budget: float, *devices: Device, **more: object) -> Compilation:
    path = folder / "model.onnx"
    onnx.save(chain_model(), path)
    request = Request(max_error=budget, time_limit_s=0.5)
    return compile_model(path, selection(*devices), request=request, granularity="node", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", [1e-1, 1e-3, 1e-5])
def test_what_is_delivered_keeps_the_budget_and_says_how_it_was_measured(tmp_path: Path, budget: float) -> None:
    one = compiled(tmp_path, budget, CPU, ROUGH)
    precision = one.state.precision
    assert precision is not None
    assert precision.truth.error <= budget
    assert precision.truth.agreement is not None
    assert one.state.proof.passed
    assert "drawn at random" in precision.samples
    broken = {name for name, truth in precision.measured.items() if truth.error > budget}
    assert broken == set(one.state.contest.failed)
    assert broken == ({"rough"} if budget < 1e-2 else set())
    assert json.loads(json.dumps(precision.as_fields()))["budget"] == budget
    assert f"budget of {budget:g}" in str(precision)


def test_a_budget_that_nothing_keeps_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match=r"nothing keeps --max-error 1e-05: .*rough: error"):
        compiled(tmp_path, 1e-5, ROUGH)


def test_given_samples_are_what_errors_are_measured_on(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((12, 16)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=rows)
    one = compiled(tmp_path, 1e-1, CPU, samples=tmp_path / "rows.npz")
    assert one.state.precision is not None
    assert one.state.precision.truth.sample_count == 12
    assert one.state.precision.samples == "12 of rows.npz"
    assert np.array_equal(one.state.inputs["x"], rows[:1])
    words = replay(one)
    assert words[words.index("--max-error") + 1] == "0.1"
    assert words[words.index("--samples") + 1] == "rows.npz"


def test_the_manifest_holds_it(tmp_path: Path) -> None:
    one = compiled(tmp_path, 1e-2, CPU)
    deliver(one, tmp_path / "out.mosaic")
    manifest = json.loads((tmp_path / "out.mosaic" / "manifest.json").read_text())
    said = manifest["precision"]
    assert said["samples"]["count"] >= 1
    assert said["measured"]["error"] <= said["budget"] == 1e-2
    assert said["estimated"]["sum_over_layers"] == 0.0


class Counting(RoughBackend):
    """Counts what it loads."""

    def __init__(self) -> None:
        self.loaded = 0

    def load(self, model: SliceModel, device: Device):  # type: ignore[no-untyped-def]
        self.loaded += 1
        return super().load(model, device)


def errors_pass(folder: Path, backend: RoughBackend, **more: object):  # type: ignore[no-untyped-def]
    ready = normalised(chain_model(), folder)
    graph = layerize(ready, "node")
    samples = gather_samples(ready.model, ready.folder, {"x": np.ones((1, 16), np.float32)}, inputs_file=Path("x.npz"))
    layers = tuple(
        ProfileLayer(one.name, one.inputs, one.outputs, {"cpu": Cost(2.0, error=1e-7), "rough": Cost(1.0)})
        for one in graph.layers
    )
    tensors = {name: tensor.bytes for name, tensor in graph.tensors.items()}
    given = Profile("chain", (CPU, ROUGH), tensors, graph.inputs, graph.outputs, layers)
    backends: Mapping[str, object] = {"onnxruntime": BACKEND, "rough": backend}
    measure = ErrorProfiler((CPU, ROUGH), backends, samples, **more)  # type: ignore[arg-type]
    return given, measure(ready, graph, given)


def test_full_precision_counts_as_exact_and_lower_precision_is_measured(tmp_path: Path) -> None:
    given, found = errors_pass(tmp_path, RoughBackend())
    assert [layer.cost["cpu"].error for layer in found.layers] == [0.0] * 4
    assert all(1e-5 < layer.cost["rough"].error < 1e-1 for layer in found.layers)
    assert "full precision" in found.meta["errors"]["assumed"][0]
    assert [layer.cost["cpu"].error for layer in given.layers] == [1e-7] * 4


def test_errors_are_measured_once(tmp_path: Path) -> None:
    backend, cache = Counting(), Cache(tmp_path / "cache")
    _, cold = errors_pass(tmp_path, backend, cache=cache)
    loaded = backend.loaded
    _, warm = errors_pass(tmp_path, backend, cache=cache)
    assert loaded == 4
    assert backend.loaded == loaded
    assert [layer.cost for layer in warm.layers] == [layer.cost for layer in cold.layers]


def test_what_time_does_not_suffice_for_is_assumed_to_err_and_says_so(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    _, found = errors_pass(tmp_path, RoughBackend(), time_limit_s=0.0, cache=cache)
    assert [layer.cost["rough"].error for layer in found.layers] == [1.0] * 4
    assert "out of time" in found.layers[0].cost["rough"].meta["error"]
    _, later = errors_pass(tmp_path, RoughBackend(), cache=cache)
    assert all(layer.cost["rough"].error < 0.1 for layer in later.layers)


def test_lower_precision_joins_for_a_budget_and_simulators_never_do() -> None:
    simulated = replace(ROUGH, name="npu", simulated=True)
    found = Inventory({one.name: one for one in (CPU, ROUGH, simulated)})
    assert [one.name for one in select_devices((), found)] == ["cpu"]
    within = select_devices((), found, lower=True)
    assert [one.name for one in within] == ["cpu", "rough"]
    assert [one.name for one in left_out(within, found)] == ["npu"]
    assert "--max-error" in left_out((CPU,), found)[0].reason
    assert (is_lower(CPU), is_lower(ROUGH)) == (False, True)


def test_a_bundle_is_held_to_its_budget_when_it_is_verified(tmp_path: Path) -> None:
    one = compiled(tmp_path, 1e-2, CPU)
    deliver(one, tmp_path / "loose.mosaic")
    assert one.state.precision is not None
    strict = replace(one, state=replace(one.state, precision=replace(one.state.precision, budget=0.0)))
    deliver(strict, tmp_path / "strict.mosaic")
    inputs = make_inputs(one.state.normalised.model, 5)
    assert verify_bundle(read_bundle(tmp_path / "loose.mosaic"), inputs).passed
    judged = verify_bundle(read_bundle(tmp_path / "strict.mosaic"), inputs)
    assert {check.verdict for check in judged.outputs} <= {"equal", "failed"}
