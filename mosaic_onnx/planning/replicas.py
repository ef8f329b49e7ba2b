"""Throughput by replicas: the whole model on each of several equal devices, which share the requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.in_flight import with_admitted_interval
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.planner.core.request import TOLERANCE, Request
from mosaic_onnx.planning.candidates import single_device_plan

_PLACE_OPTIONS = ("cores", "hardware")
"""Options that say which of several equal devices is meant."""


def throughput_plans(profile: Profile, plan: Plan, request: Request, table: CostTable) -> tuple[Plan, ...]:
    """Return a plan, and the whole model on each group of equal devices, the shortest interval first.

    Requests go to whichever replica is free, so that the rates add up. Devices are equal if they differ in nothing but
    their name and place. The plan goes first where replicas promise no more. Intervals are those of as many requests as
    the deadline lets be under way.

    Args:
        profile: what was measured.
        plan: the best plan without replicas.
        request: what was asked; replicas are for throughput, where several slices a device and one slice are allowed.
        table: the profile's cost table.
    """
    if request.objective != "throughput":
        return (plan,)
    found = [with_admitted_interval(plan)]
    if not request.one_slice_per_device and request.min_slice_count <= 1:
        for group in equal_devices(profile.devices):
            one = _replicated(profile, plan, request, table, _side_by_side(group, profile))
            if one is not None:
                found.append(with_admitted_interval(one))
    own_s = found[0].predicted.interval_seconds * (1 - TOLERANCE)
    better = [one for one in found[1:] if one.predicted.interval_seconds < own_s]
    worse = [one for one in found[1:] if one.predicted.interval_seconds >= own_s]
    return tuple(sorted(better, key=_interval) + found[:1] + sorted(worse, key=_interval))


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


def _side_by_side(group: Sequence[Device], profile: Profile) -> list[Device]:
    """Return those of a group that can work at once: of two that exclude each other, the first."""
    kept: list[Device] = []
    for device in group:
        if not any({device.name, other.name} == set(pair) for other in kept for pair in profile.exclusive):
            kept.append(device)
    return kept


def _replicated(
    profile: Profile, plan: Plan, request: Request, table: CostTable, group: Sequence[Device]
) -> Plan | None:
    """Return the whole model on each device of a group; None where fewer than two can run it in time."""
    whole = (single_device_plan(profile, device.name, plan, table) for device in group)
    singles = [one for one in whole if one is not None and _keeps_deadline(one, request)]
    if len(singles) < 2:
        return None
    singles.sort(key=_interval)
    interval_s = 1 / sum(1 / one.predicted.interval_seconds for one in singles)
    slowest_s = max(one.predicted.seconds for one in singles)
    is_bounded = plan.bound is not None and 0 < plan.bound.value <= interval_s
    return replace(
        singles[0],
        method=f"the whole model on {len(singles)} equal devices",
        replicas=tuple(one.slices[0].state for one in singles[1:]),
        predicted=replace(singles[0].predicted, seconds=slowest_s, interval_seconds=interval_s),
        bound=plan.bound if is_bounded else None,
        gap=interval_s / plan.bound.value - 1 if is_bounded and plan.bound is not None else None,
        constraints=plan.constraints,
    )


def _interval(plan: Plan) -> float:
    return plan.predicted.interval_seconds


def _keeps_deadline(plan: Plan, request: Request) -> bool:
    return request.deadline_s is None or plan.predicted.seconds <= request.deadline_s * (1 + TOLERANCE)
