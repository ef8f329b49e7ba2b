"""Kernel times from OpenVINO's performance counters: the whole slice runs, each kernel is timed, the least counts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from mosaic_onnx.backends.base import Array, KernelTime
from mosaic_onnx.backends.openvino_runner import infer, tensor_over

RECORDING = {"PERF_COUNT": True}
"""Properties that a model must be compiled with to be timed here."""
_MIN_RUNS = 5
_MAX_RUNS = 100
_ORIGIN = "originalLayersNames"


def kernels_of(compiled: Any, inputs: Sequence[Array], budget_s: float) -> tuple[KernelTime, ...]:
    """Run a compiled model until the budget is spent and return the least time of each kernel that ran.

    Args:
        compiled: an ``ov.CompiledModel`` made with ``RECORDING``.
        inputs: its inputs, by position.
        budget_s: slow models run at least five times.
    """
    request = compiled.create_infer_request()
    for index, array in enumerate(inputs):
        request.set_input_tensor(index, tensor_over(array))
    least: dict[str, float] = {}
    started, run_count = time.perf_counter(), 0
    while run_count < _MAX_RUNS and (run_count < _MIN_RUNS or time.perf_counter() - started < budget_s):
        infer(request)
        run_count += 1
        for kernel in request.profiling_info:
            if kernel.status == kernel.Status.EXECUTED:
                seconds = kernel.real_time.total_seconds()
                least[kernel.node_name] = min(seconds, least.get(kernel.node_name, seconds))
    origins = _origins(compiled)
    return tuple(KernelTime(origins.get(name) or name, seconds) for name, seconds in least.items())


def _origins(compiled: Any) -> dict[str, str]:
    """By kernel, the names of the ONNX nodes that were fused into it, with commas between."""
    found = {}
    for operation in compiled.get_runtime_model().get_ordered_ops():
        facts = operation.get_rt_info()
        if _ORIGIN in facts:
            found[operation.get_friendly_name()] = str(facts[_ORIGIN].astype(str))
    return found
