"""From a site to a server with every slice loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from mosaic_onnx.core.devices import Device
from mosaic_onnx.discovery.registry import backends
from mosaic_onnx.files.bundle import Bundle
from mosaic_onnx.loading.inputs import make_inputs
from mosaic_onnx.pipeline.delivery import bind_bundle, tuned_slices
from mosaic_onnx.pipeline.site.folder import Site
from mosaic_onnx.runtime.opening import LoadedPlan, held_cores, load_plan
from mosaic_onnx.runtime.workers import Workers
from mosaic_onnx.scenarios.scenario import Group
from mosaic_onnx.scenarios.serving.frame import Frame
from mosaic_onnx.scenarios.serving.model_runner import ModelRunner
from mosaic_onnx.scenarios.serving.server import ScenarioServer, ServingOrder


def scaled(groups: Sequence[Group], multiplier: float) -> tuple[Group, ...]:
    """Return the groups with their periods and deadlines scaled."""
    return tuple(
        replace(group, period_s=group.period_s * multiplier, deadline_s=group.deadline_s * multiplier)
        for group in groups
    )


def open_server(
    site: Site,
    *,
    multiplier: float = 1.0,
    devices: Sequence[str] = (),
    trust: bool = False,
    seed: int = 0,
    check_every: int = 0,
    on_frame: Callable[[Frame], None] = lambda frame: None,
) -> ScenarioServer:
    """Load a site's slices on this machine's devices; ``start`` or ``serve_for`` begins.

    Args:
        site: what to serve.
        multiplier: of the periods and deadlines.
        devices: the user's own devices, which take the place of the bundles'.
        trust: take what the bundles say of their devices.
        seed: of inputs and jitter.
        check_every: compare every so many frames' outputs with a first run's; 0 for none.
        on_frame: called with every frame that is over.

    Raises:
        UsageError: a device is not here.
        BackendError: a slice cannot be loaded.
    """
    bundles = {name: bind_bundle(bundle, devices, trust=trust) for name, bundle in site.bundles.items()}
    here = {device.name: device for bundle in bundles.values() for device in bundle.devices}
    workers = Workers(here, held_cores(here))
    with ExitStack() as undo:
        undo.callback(workers.close)
        runners = {}
        for name, bundle in bundles.items():
            runner = ModelRunner(
                name, load_bundle(bundle), workers, make_inputs(bundle.original(), seed), check_every=check_every
            )
            undo.callback(runner.close)
            runners[name] = runner
        server = ScenarioServer(
            scaled(site.groups, multiplier),
            runners,
            ServingOrder(site.priority, site.policy),
            workers,
            [name for name in site.devices if name in here],
            drop=site.drop,
            seed=seed,
            on_frame=on_frame,
        )
        undo.pop_all()
    return server


def load_bundle(bundle: Bundle) -> LoadedPlan:
    """Load a bound bundle's slices as they run best here.

    Raises:
        UsageError: a device or backend is not here.
        BackendError: a slice cannot be loaded.
    """
    devices: dict[str, Device] = {device.name: device for device in bundle.devices}
    candidates = backends()
    slices = tuned_slices(bundle, devices, candidates)
    return load_plan(slices, bundle.plan, devices, candidates, inputs=bundle.inputs, outputs=bundle.outputs)
