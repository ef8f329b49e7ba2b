"""Kernel times from OpenVINO's performance counters: the whole slice runs, and each kernel is timed.

OpenVINO's CPU plugin counts in whole microseconds, and gives only each kernel's mean since the model was compiled. The
means after two runs give the mean over the runs between them; the fastest runs in a row are chosen by the wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mosaic_onnx.backends.base import Array, KernelTime
from mosaic_onnx.backends.openvino.runner import OpenvinoRunner, infer, tensor_over
from mosaic_onnx.core.process.cpu_cores import pinned

RECORDING = {"PERF_COUNT": True}
"""Properties with which a model must be compiled to be timed."""
_MIN_RUNS = 4
_MAX_RUNS = 60
_SPELL = 4
"""The chosen runs are this fraction of all runs."""
_SMALL_S = 20e-6
"""Below this, a difference of means is mostly rounding, and the mean over all runs is better."""
_ORIGIN = "originalLayersNames"
Means = Mapping[str, float]
"""Mean seconds since the model was compiled, by kernel."""


class RecordingOpenvinoRunner(OpenvinoRunner):
    """A loaded slice that was compiled with ``RECORDING``."""

    def kernels(self, inputs: Mapping[str, Array], budget_s: float) -> tuple[KernelTime, ...]:
        """Return the time of each kernel; see ``RecordingRunner``."""
        compiled = self._open_model()
        places = {
            port.index: np.ascontiguousarray(inputs[name]).reshape(inputs[name].shape)  # a scalar stays one
            for name, port in self._inputs.items()
            if port.index is not None
        }
        with self._named_failure(), pinned(self._cores):
            return kernels_of(compiled, places, budget_s)


def kernels_of(compiled: Any, inputs: Mapping[int, Array], budget_s: float) -> tuple[KernelTime, ...]:
    """Run a compiled model until the budget is spent and return the time of each kernel that ran.

    Args:
        compiled: an ``ov.CompiledModel`` made with ``RECORDING``.
        inputs: its inputs, by position.
        budget_s: time for the runs; there are at least four.
    """
    request = compiled.create_infer_request()
    for index, array in inputs.items():
        request.set_input_tensor(index, tensor_over(array))
    walls: list[float] = []
    means: list[Means] = []
    started = time.perf_counter()
    while len(walls) < _MAX_RUNS and (len(walls) < _MIN_RUNS or time.perf_counter() - started < budget_s):
        before = time.perf_counter()
        infer(request)
        walls.append(time.perf_counter() - before)
        means.append(_means(request))
    seconds = quiet_seconds(walls, means)
    origins = _origins(compiled)
    return tuple(KernelTime(origins.get(name) or name, each_s) for name, each_s in seconds.items())


def quiet_seconds(walls: Sequence[float], means: Sequence[Means]) -> dict[str, float]:
    """Return the seconds of each kernel in the fastest runs in a row.

    Args:
        walls: seconds of each run.
        means: the running means after each run; there are at least two. A kernel whose mean rounds to zero is reported
            as not run, so that small ones may be absent after some runs.
    """
    length = max(2, (len(walls) - 1) // _SPELL)
    # The first run is left out: it allocates.
    first = min(range(1, len(walls) - length + 1), key=lambda start: sum(walls[start : start + length]))
    before, after = means[first - 1], means[first + length - 1]
    seconds = {}
    for name, mean in means[-1].items():
        spell = (after.get(name, 0.0) * (first + length) - before.get(name, 0.0) * first) / length
        seconds[name] = max(spell, 0.0) if mean >= _SMALL_S else mean
    return seconds


def _means(request: Any) -> Means:
    return {
        kernel.node_name: kernel.real_time.total_seconds()
        for kernel in request.profiling_info
        if kernel.status == kernel.Status.EXECUTED
    }


def _origins(compiled: Any) -> dict[str, str]:
    """Return {kernel: names of the ONNX nodes fused into it, joined by commas}."""
    found = {}
    for operation in compiled.get_runtime_model().get_ordered_ops():
        facts = operation.get_rt_info()
        if _ORIGIN in facts:
            found[operation.get_friendly_name()] = str(facts[_ORIGIN].astype(str))
    return found
