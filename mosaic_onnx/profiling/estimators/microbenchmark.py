"""The communication microbenchmark (section V-B.1): single-operator models over a range of sizes, on any backend.

For devices that have no memory to copy to and from by hand (``Backend.memory`` is None), the cost of getting tensors in
and out shows only in whole runs: one model reads much and makes little, another reads little and makes much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mosaic_onnx.backends.base import Array, Backend, Runner, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.profiling.estimators.communication import CopyFit, nonnegative_fit
from mosaic_onnx.profiling.measuring.timing import Budget, time_call

ELEMENT_COUNTS = tuple(4**power for power in range(3, 11))
"""64 to 1,048,576 f32 numbers: 256 bytes to 4 MiB."""


@dataclass(frozen=True)
class Sample:
    """One run of a single-operator model."""

    input_bytes: int
    output_bytes: int
    seconds: float


@dataclass(frozen=True)
class CommunicationFit:
    """Equations 1 and 2 of one device, from whole runs: t = α_in·T_in + α_out·T_out + β.

    Attributes:
        received: line into the device.
        sent: line out of it. The fixed costs of a run (β in, β out, the operator itself) cannot be told apart by whole
            runs: each direction gets half.
        mean_error: mean absolute relative residual of the runs.
        worst_error: largest absolute relative residual.
    """

    received: CopyFit
    sent: CopyFit
    mean_error: float
    worst_error: float


def measure_communication(
    backend: Backend, device: Device, budget: Budget | None = None, element_counts: Iterable[int] = ELEMENT_COUNTS
) -> tuple[Sample, ...]:
    """Run both models of every size and take the least seconds of each.

    Raises:
        BackendError: the device cannot run them.
    """
    samples = []
    for count in element_counts:
        for make in (reading_model, making_model):
            samples.append(_run(backend, device, make(count), budget or Budget()))
    return tuple(samples)


def fit_communication(samples: Iterable[Sample]) -> CommunicationFit:
    """Fit t = α_in·T_in + α_out·T_out + β by least relative squares with all coefficients ≥ 0.

    Raises:
        ModelError: there are fewer than three samples.
    """
    kept = [sample for sample in samples if sample.seconds > 0]
    if len(kept) < 3:
        raise ModelError(f"two lines need three samples, there are {len(kept)}", "measure more sizes")
    table = np.array([(s.input_bytes, s.output_bytes, 1.0) for s in kept], dtype=np.float64)
    seconds = np.array([s.seconds for s in kept])
    slope_in, slope_out, start = nonnegative_fit(table / seconds[:, None], np.ones_like(seconds))
    errors = (table @ np.array([slope_in, slope_out, start])) / seconds - 1
    spread = ((seconds - seconds.mean()) ** 2).sum()
    r_squared = 1 - float((((errors) * seconds) ** 2).sum() / spread) if spread > 0 else 1.0
    received, sent = (
        CopyFit(slope, start / 2, r_squared, tuple(zip(table[:, column].tolist(), errors.tolist(), strict=True)))
        for column, slope in enumerate((slope_in, slope_out))
    )
    return CommunicationFit(received, sent, float(np.abs(errors).mean()), float(np.abs(errors).max()))


def reading_model(element_count: int) -> SliceModel:
    """``ReduceMax``: reads ``element_count`` f32 numbers, makes one."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["x"], ["y"], keepdims=1)],
        "reading",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, element_count])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
    )
    return _slice(graph)


def making_model(element_count: int) -> SliceModel:
    """``Expand``: reads one f32 number, makes ``element_count``."""
    shape = numpy_helper.from_array(np.array([1, element_count], np.int64), "shape")
    graph = helper.make_graph(
        [helper.make_node("Expand", ["x", "shape"], ["y"])],
        "making",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, element_count])],
        [shape],
    )
    return _slice(graph)


def _slice(graph: onnx.GraphProto) -> SliceModel:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return SliceModel(model, None, ("x",), ("y",))


def _run(backend: Backend, device: Device, model: SliceModel, budget: Budget) -> Sample:
    """Load, run once to warm up, time."""
    graph = model.model.graph
    shape = [dimension.dim_value for dimension in graph.input[0].type.tensor_type.shape.dim]
    inputs = {"x": np.ones(shape, np.float32)}
    runner = backend.load(model, device)
    try:
        made = runner.run(inputs)["y"]
        seconds = time_call(partial(_run_once, runner, inputs), budget).seconds
    finally:
        runner.close()
    return Sample(inputs["x"].nbytes, made.nbytes, seconds)


def _run_once(runner: Runner, inputs: Mapping[str, Array]) -> None:
    runner.run(inputs)
