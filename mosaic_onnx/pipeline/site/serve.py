"""From the bundles of a site to slices that are loaded on its devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mosaic_onnx.backends.base import Backend
from mosaic_onnx.core.devices import Device
from mosaic_onnx.discovery.registry import backends
from mosaic_onnx.files.bundle import Bundle
from mosaic_onnx.pipeline.open_bundle import tuned_slices
from mosaic_onnx.runtime.opening import LoadedPlan, load_plan
from mosaic_onnx.scenarios.scenario import Group


def scaled(groups: Sequence[Group], multiplier: float) -> tuple[Group, ...]:
    """Return the groups with their periods and deadlines scaled."""
    return tuple(
        replace(group, period_s=group.period_s * multiplier, deadline_s=group.deadline_s * multiplier)
        for group in groups
    )


def load_bundle(bundle: Bundle, candidates: Mapping[str, Backend] | None = None) -> LoadedPlan:
    """Load a bound bundle's slices as they run best here.

    Args:
        bundle: what to load.
        candidates: the backends, by name; None for those that are installed.

    Raises:
        UsageError: a device or backend is not here.
        BackendError: a slice cannot be loaded.
    """
    devices: dict[str, Device] = {device.name: device for device in bundle.devices}
    found = backends()
    slices = tuned_slices(bundle, devices, found)
    loaded_by = found if candidates is None else candidates
    return load_plan(slices, bundle.plan, devices, loaded_by, inputs=bundle.inputs, outputs=bundle.outputs)
