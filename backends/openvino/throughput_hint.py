"""OpenVINO's own way to many requests a second: its throughput hint, as a yardstick."""

from __future__ import annotations

import time
from collections.abc import Mapping

from mosaic_onnx.backends.base import Array, SliceModel
from mosaic_onnx.backends.openvino.compile import compile_slice
from mosaic_onnx.backends.openvino.options import OpenvinoOptions
from mosaic_onnx.backends.openvino.quiet import openvino_module


def throughput_hint_rate(model: SliceModel, inputs: Mapping[str, Array], thread_count: int, seconds: float) -> float:
    """Return the requests a second of OpenVINO's CPU plugin with its throughput hint, in f32.

    Args:
        model: the whole model, shapes concrete.
        inputs: of every request, by name.
        thread_count: threads that it may use.
        seconds: how long to measure, after as many requests as it takes at once.

    Raises:
        BackendError: OpenVINO refuses the model.
    """
    options = OpenvinoOptions(
        precision="f32", threads=thread_count, cores=None, properties={"PERFORMANCE_HINT": "THROUGHPUT"}
    )
    compiled = compile_slice(model, "the model, OpenVINO's throughput hint", options)
    queue = openvino_module().AsyncInferQueue(compiled.model)
    fed = {port.index: inputs[port.name] for port in compiled.inputs if port.index is not None}
    for _ in range(len(queue)):
        queue.start_async(fed)
    queue.wait_all()
    count, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        queue.start_async(fed)
        count += 1
    queue.wait_all()
    return count / (time.perf_counter() - began_s)
