"""From a plan and its slices to a session: every route loaded, workers for the devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mosaic_onnx.backends.base import Backend, SliceModel
from mosaic_onnx.backends.sharing import exclusive_pairs
from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.graph.signature import TensorSpec
from mosaic_onnx.core.in_flight import slots_needed
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.runtime.guards import Incidents
from mosaic_onnx.runtime.opening import held_cores, load_plan
from mosaic_onnx.runtime.session import WAITING_LIMIT, Route, Session
from mosaic_onnx.runtime.workers import Workers


def open_session(
    slices: Sequence[SliceModel],
    plan: Plan,
    devices: Mapping[str, Device],
    backends: Mapping[str, Backend],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    in_flight: int | None = None,
    waiting_limit: int = WAITING_LIMIT,
    workers: Workers | None = None,
    incidents: Incidents | None = None,
    on_close: Sequence[Callable[[], None]] = (),
) -> Session:
    """Load a plan's slices, on its own states and on each replica's.

    Args:
        slices: one a slice of the plan.
        plan: states, schedule, replicas.
        devices: by name.
        backends: by name.
        inputs: what the model takes.
        outputs: what the model gives.
        in_flight: requests under way at once on each route; None for as many as the plan needs.
        waiting_limit: requests that wait beyond those.
        workers: of all devices, where sessions share them; None for workers of its own.
        incidents: where failures that were survived are counted.
        on_close: called when the session is closed.

    Raises:
        UsageError: a device or backend is not here.
        BackendError: a slice cannot be loaded.
    """
    routes: list[Route] = []
    slot_count = slots_needed(plan) if in_flight is None else in_flight
    names = {"inputs": tuple(one.name for one in inputs), "outputs": tuple(one.name for one in outputs)}
    try:
        for one in (plan, *map(plan.on, plan.replicas)):
            routes.append(Route(load_plan(slices, one, devices, backends, **names), slot_count))
        return Session(
            routes,
            inputs,
            outputs,
            workers or workers_of(used_devices(plan, devices), backends),
            owns_workers=workers is None,
            waiting_limit=waiting_limit,
            incidents=incidents,
            on_close=on_close,
        )
    except BaseException:
        for route in routes:
            route.loaded.close()
        raise


def used_devices(plan: Plan, devices: Mapping[str, Device]) -> dict[str, Device]:
    """Return the devices that a plan uses, by name."""
    used = {device_of(state) for state in (*(one.state for one in plan.slices), *plan.replicas)}
    return {name: device for name, device in devices.items() if name in used}


def workers_of(devices: Mapping[str, Device], backends: Mapping[str, Backend]) -> Workers:
    """Return workers of devices, held on their cores; those that would take each other's cores take turns."""
    return Workers(devices, held_cores(devices), exclusive_pairs(devices.values(), backends))
