"""Throughput by replicas: the whole model on each of several equal devices, which share the requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mosaic_onnx.core.costs import CostTable
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.planner.core.request import TOLERANCE, Request
from mosaic_onnx.planning.candidates import single_device_plan

_PLACE_OPTIONS = ("cores", "hardware")
"""Options that say which of several equal devices is meant."""


def with_replicas(profile: Profile, plan: Plan, request: Request, table: CostTable) -> Plan:
    """Return the whole model on each of some equal devices, where that promises more requests a second than the plan.

    Requests go to whichever replica is free, so that the rates add up. Devices are equal if they differ in nothing but
    their name and place.

    Args:
        profile: what was measured.
        plan: the best plan without replicas.
        request: what was asked; replicas are for throughput, where several slices a device and one slice are allowed.
        table: the profile's cost table.
    """
    if request.objective != "throughput" or request.one_slice_per_device or request.min_slice_count > 1:
        return plan
    best = plan
    for group in equal_devices(profile.devices):
        whole = (single_device_plan(profile, device.name, plan, table) for device in group)
        singles = [one for one in whole if one is not None and _keeps_deadline(one, request)]
        if len(singles) < 2:
            continue
        singles.sort(key=lambda one: one.predicted.interval_seconds)
        interval_s = 1 / sum(1 / one.predicted.interval_seconds for one in singles)
        if interval_s >= best.predicted.interval_seconds * (1 - TOLERANCE):
            continue
        slowest_s = max(one.predicted.seconds for one in singles)
        best = replace(
            singles[0],
            method=f"the whole model on {len(singles)} equal devices",
            replicas=tuple(one.slices[0].state for one in singles[1:]),
            predicted=replace(singles[0].predicted, seconds=slowest_s, interval_seconds=interval_s),
            constraints=plan.constraints,
        )
    return best


def equal_devices(devices: Iterable[Device]) -> list[list[Device]]:
    """Return groups of devices that differ in nothing but their name and place."""
    groups: dict[tuple[object, ...], list[Device]] = {}
    for device in devices:
        if not any(key in device.options for key in _PLACE_OPTIONS):
            continue
        options = sorted((key, value) for key, value in device.options.items() if key not in _PLACE_OPTIONS)
        levels = tuple(level.name for level in device.levels)
        key = (device.backend, device.precision, device.simulated, levels, tuple(options))
        groups.setdefault(key, []).append(device)
    return [group for group in groups.values() if len(group) > 1]


def _keeps_deadline(plan: Plan, request: Request) -> bool:
    return request.deadline_s is None or plan.predicted.seconds <= request.deadline_s * (1 + TOLERANCE)
