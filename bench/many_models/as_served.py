"""A site with the times of the very slices that were served: the error that remains is the simulator's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from mosaic_onnx.core.profiles import MeasuredSlice, Profile
from mosaic_onnx.pipeline.site.folder import Site
from mosaic_onnx.pipeline.site.rehearsal import undisturbed_seconds
from mosaic_onnx.pipeline.site.served import site_instance
from mosaic_onnx.pipeline.site.unit_times import measured_unit_times
from mosaic_onnx.planner.core.request import Proposal
from mosaic_onnx.planning.profile_plan import proposal_of
from mosaic_onnx.scenarios.instance import Instance, unit_of
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.serving.frame import Frame


def instance_as_served(site: Site, frames: Sequence[Frame], multiplier: float) -> tuple[Instance, Schedule]:
    """Return the site with each slice's mean time in a run, and what passed around slices in it, for the simulator."""
    taken = undisturbed_seconds(frames, site.slowdowns)
    devices = {device.name: unit_of(device) for bundle in site.bundles.values() for device in bundle.profile.devices}
    unit_times = {name: one.as_fields() for name, one in measured_unit_times(frames, devices).items()}
    profiles = {}
    for name, bundle in site.bundles.items():
        seconds = {k: fmean(row) for (model, k), row in taken.items() if model == name}
        proposal = proposal_of(bundle.profile, bundle.plan)
        profiles[name] = _with_times(bundle.profile, proposal, seconds)
    return site_instance(replace(site, unit_times=unit_times), multiplier, profiles)


def _with_times(profile: Profile, proposal: Proposal, seconds: Mapping[int, float]) -> Profile:
    """Return the profile in which the slices of a proposal take so long; slices in pieces stay as they are."""
    measured = {(one.first, one.last, one.state): one for one in profile.segments}
    for k, (layers, state) in enumerate(proposal):
        first, last = layers[0], layers[-1]
        if k in seconds and last - first + 1 == len(layers):
            name = profile.states[state]
            measured[first, last, name] = MeasuredSlice(first, last, name, seconds[k])
    return replace(profile, segments=tuple(measured.values()))
