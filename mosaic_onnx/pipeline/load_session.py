"""From a bundle on disk to a session."""

from __future__ import annotations

import math

from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.signature import given_inputs, tensor_specs
from mosaic_onnx.discovery.registry import backends
from mosaic_onnx.files.bundle import Bundle
from mosaic_onnx.pipeline.delivery import tuned_slices
from mosaic_onnx.runtime.opening import held_cores, load_plan
from mosaic_onnx.runtime.session import WAITING_LIMIT, Route, Session
from mosaic_onnx.runtime.workers import Workers

MOST_SLOTS = 16
"""Requests under way at once on one route, at most: each holds buffers for its tensors."""


def load_session(
    bundle: Bundle, *, in_flight: int | None = None, waiting_limit: int = WAITING_LIMIT, workers: Workers | None = None
) -> Session:
    """Load a bundle's slices on their devices, as they run best on this machine, and keep them.

    Args:
        bundle: what to load.
        in_flight: requests under way at once on each route; None for as many as keep the plan's devices busy.
        waiting_limit: requests that wait beyond those.
        workers: of the machine's devices, where sessions share them; None for workers of its own.

    Raises:
        UsageError: a device or backend of the bundle is not here.
        ModelError: the bundle is damaged.
        BackendError: a slice cannot be loaded.
    """
    devices = {device.name: device for device in bundle.devices}
    candidates = backends()
    slices = tuned_slices(bundle, devices, candidates)
    names = {"inputs": bundle.inputs, "outputs": bundle.outputs}
    loaded = load_plan(slices, bundle.plan, devices, candidates, **names)
    graph = bundle.original().graph
    try:
        return Session(
            [Route(loaded, slots_needed(bundle.plan) if in_flight is None else in_flight)],
            tensor_specs(given_inputs(graph)),
            tensor_specs(graph.output),
            workers or Workers(devices, held_cores(devices)),
            owns_workers=workers is None,
            waiting_limit=waiting_limit,
        )
    except BaseException:
        loaded.close()
        raise


def slots_needed(plan: Plan) -> int:
    """Requests that must be under way at once so that the busiest device never waits for one.

    By Little's law those are latency over interval; one more covers what the runtime adds between slices.
    """
    predicted = plan.predicted
    if predicted.interval_seconds <= 0:
        return 2
    return min(MOST_SLOTS, math.ceil(predicted.seconds / predicted.interval_seconds - 1e-9) + 1)
