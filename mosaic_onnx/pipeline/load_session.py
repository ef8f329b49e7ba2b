"""From a bundle on disk, or a plain model, to a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from mosaic_onnx.backends.base import Array, Backend, SliceModel
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.graph.signature import TensorSpec, given_inputs, tensor_specs
from mosaic_onnx.core.plans import Plan, Predicted, Slice
from mosaic_onnx.discovery.registry import backends
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.files.bundle import Bundle
from mosaic_onnx.isolation.backend import IsolatedBackend, in_process, isolated
from mosaic_onnx.loading.input_shapes import Shapes
from mosaic_onnx.loading.inputs import shapes_of_free
from mosaic_onnx.loading.model import open_model
from mosaic_onnx.loading.normalise import normalise
from mosaic_onnx.pipeline.open_bundle import bind_bundle, tuned_slices
from mosaic_onnx.runtime.guards import Guards, guarded
from mosaic_onnx.runtime.plan_session import open_session, workers_of
from mosaic_onnx.runtime.session import WAITING_LIMIT, Session
from mosaic_onnx.runtime.shaped_session import ShapedSession
from mosaic_onnx.runtime.workers import Workers


@dataclass(frozen=True)
class SessionOptions:
    """The options of a session.

    Attributes:
        in_flight: requests under way at once on each route; None for as many as keep the plan's devices busy.
        waiting_limit: requests that wait beyond those; a further ``run_async`` blocks.
        workers: of the machine's devices, where sessions share them; None for workers of its own.
        is_isolated: each device runs in a process of its own, so that one that crashes fails its slice only. A call
            then costs a tenth of a millisecond more, and the copies of its tensors.
        time_limit_s: a slice that runs longer has failed; isolates the devices, since nothing else ends native code.
        validate: a slice that makes NaN, infinities, or values far outside of the range that the sample of the
            compilation had, has failed.
        fallback: another device of the bundle takes over a slice that failed, and runs it from then on; the session's
            ``incidents`` count it.
    """

    in_flight: int | None = None
    waiting_limit: int = WAITING_LIMIT
    workers: Workers | None = None
    is_isolated: bool = False
    time_limit_s: float | None = None
    validate: bool = False
    fallback: bool = False

    def __post_init__(self) -> None:
        if self.in_flight is not None and self.in_flight < 1:
            raise UsageError(f"in_flight is {self.in_flight}: at least one request must be under way")
        if self.time_limit_s is not None and self.time_limit_s <= 0:
            raise UsageError(f"time_limit_s is {self.time_limit_s}: no run takes so little")
        if self.waiting_limit < 1:
            raise UsageError(f"waiting_limit is {self.waiting_limit}: at least one request must be able to wait")


def load_session(bundle: Bundle, options: SessionOptions | None = None) -> Session | ShapedSession:
    """Load a bundle's slices on their devices, as they run best on this machine, and keep them.

    A bundle for several shapes makes a session that picks among them.

    Raises:
        UsageError: a device or backend of the bundle is not here.
        ModelError: the bundle is damaged.
        BackendError: a slice cannot be loaded.
    """
    bundle, options = bind_bundle(bundle), options or SessionOptions()
    if not bundle.shapes:
        return _load_shapes(bundle, options)
    workers = options.workers or workers_of(_by_name(bundle), backends())
    sessions: list[Session] = []
    try:
        for one in (bundle, *bundle.shapes):
            sessions.append(_load_shapes(one, replace(options, workers=workers)))
    except BaseException:
        for session in sessions:
            session.close()
        raise
    return ShapedSession(sessions, workers, owns_workers=options.workers is None)


def _by_name(bundle: Bundle) -> dict[str, Device]:
    return {device.name: device for device in bundle.devices}


def _load_shapes(bundle: Bundle, options: SessionOptions) -> Session:
    """The session of one set of shapes."""
    devices = _by_name(bundle)
    slices = tuned_slices(bundle, devices, backends())
    specs = bundle.input_specs, bundle.output_specs
    candidates = _isolated_if_asked(backends(), options)
    guards = Guards(
        options.validate,
        _sample_ranges(bundle),
        bundle.devices if options.fallback else (),
        candidates,
        {one.outputs: one for one in bundle.slices},
    )
    return _session(slices, bundle.plan, devices, candidates, *specs, options, guards)


def _isolated_if_asked(candidates: Mapping[str, Backend], options: SessionOptions) -> dict[str, Backend]:
    if not options.is_isolated and options.time_limit_s is None:
        return in_process(candidates)
    return isolated(in_process(candidates), options.time_limit_s, isolates_all=True)


def _sample_ranges(bundle: Bundle) -> dict[str, tuple[float, float]]:
    """By tensor, its range in the sample that the bundle was proved with, as far as the manifest tells."""
    ranges: dict[str, tuple[float, float]] = {}
    proof = bundle.manifest.get("proof")
    for check in proof.get("slices", ()) if isinstance(proof, dict) else ():
        told = check.get("ranges", {}) if isinstance(check, dict) else {}
        for name, limits in told.items() if isinstance(told, dict) else ():
            if isinstance(limits, list) and len(limits) == 2 and all(isinstance(each, int | float) for each in limits):
                ranges[str(name)] = float(limits[0]), float(limits[1])
    return ranges


def load_model(
    path: Path,
    selection: Selection,
    shapes: Shapes | None = None,
    options: SessionOptions | None = None,
    given: Mapping[str, Array] | None = None,
) -> tuple[Session, onnx.ModelProto]:
    """Load a plain model, uncut, on one device: nothing is measured, planned or proved.

    Args:
        path: of the model.
        selection: whose first chosen device runs it.
        shapes: of dynamic inputs.
        options: how it takes requests.
        given: arrays that it will be run with, whose shapes count where none is given.

    Returns:
        The session, and the model with concrete shapes.

    Raises:
        ModelError: the file is refused.
        UsageError: no device is chosen, or the shapes do not fit.
        BackendError: the device cannot load the model.
    """
    opened = open_model(path)
    normalised = normalise(opened, {**shapes_of_free(given or {}, opened.model), **(shapes or {})})
    graph = normalised.model.graph
    specs = tensor_specs(given_inputs(graph)), tensor_specs(graph.output)
    names = (tuple(spec.name for spec in specs[0]), tuple(spec.name for spec in specs[1]))
    whole = SliceModel(normalised.model, normalised.folder, *names)
    if not selection.chosen:
        raise UsageError("no device is chosen", "see `mosaic-onnx devices`")
    return load_whole(whole, selection.chosen[0], *specs, options or SessionOptions()), normalised.model


def load_whole(
    whole: SliceModel,
    device: Device,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    options: SessionOptions,
) -> Session:
    """Load a whole model on one device.

    Raises:
        UsageError: its backend is not installed.
        BackendError: the device cannot load it.
    """
    plan = Plan("latency", "sequential", "whole", (Slice((), device.states[-1]),), (), Predicted(0.0, None, 0.0))
    arguments = (whole,), plan, {device.name: device}, _isolated_if_asked(backends(), options)
    return _session(*arguments, inputs, outputs, options, Guards(options.validate))


def _session(
    slices: tuple[SliceModel, ...],
    plan: Plan,
    devices: Mapping[str, Device],
    candidates: Mapping[str, Backend],
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    options: SessionOptions,
    guards: Guards,
) -> Session:
    children = [one.close for one in candidates.values() if isinstance(one, IsolatedBackend)]
    return open_session(
        slices,
        plan,
        devices,
        guarded(candidates, guards),
        inputs,
        outputs,
        in_flight=options.in_flight,
        waiting_limit=options.waiting_limit,
        workers=options.workers,
        incidents=guards.incidents,
        on_close=children,
    )
