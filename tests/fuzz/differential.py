"""A random model through mosaic-onnx, beside unoptimised ONNX Runtime: every output has the same bits."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort

from mosaic_onnx import api
from mosaic_onnx.core.devices import Device
from mosaic_onnx.files.device_file import write_devices
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.planner.core.request import Request
from tests.corpus.partition_checks import check_partitions, outputs_of, same_bits

STRICT = tuple(
    Device(name, backend="onnxruntime", options={"threads": 1, "optimisation": "disabled"}) for name in ("one", "other")
)
"""Two devices that compute what the reference computes, bit for bit."""


def runs_in_onnx_runtime(model: onnx.ModelProto) -> bool:
    """Return whether the checker takes a model and unoptimised ONNX Runtime loads and runs it."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    onnx.checker.check_model(model, full_check=True)
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        session.run(None, make_inputs(model))
    except Exception:  # ONNX Runtime raises a dozen classes with no common base
        return False
    return True


def check_rewriting(model: onnx.ModelProto, folder: Path, plan_count: int = 2) -> None:
    """Cut a model by random plans; nothing is measured."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    check_partitions(path, range(plan_count), folder, optimise=False)


def check_compiled(model: onnx.ModelProto, folder: Path, slice_count: int = 3) -> None:
    """Compile a model into slices on two devices, run the bundle, and verify it."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    write_devices(STRICT, folder / "devices.toml")
    request = Request(min_slice_count=slice_count, time_limit_s=5.0)
    bundle = api.compile(
        path, devices=[str(folder / "devices.toml")], output=folder / "bundle", request=request, cache=False
    )
    inputs = make_inputs(model)
    wanted = outputs_of(path.read_bytes(), folder, inputs, optimise=False)
    made = api.run(bundle, inputs).outputs
    for value, one in zip(model.graph.output, wanted, strict=True):
        assert same_bits(made[value.name], one), value.name
    report = api.verify(bundle)
    assert report.passed, report.failures
