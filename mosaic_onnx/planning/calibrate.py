"""Write what measured slices take into the profile.

Two figures are learned of each device, for slices that were not measured so: what a cut costs (``slice_seconds``), and
what a slice takes more in a plan than alone, where it finds its weights in the caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from mosaic_onnx.core.devices import Device, device_of
from mosaic_onnx.core.profiles import MeasuredSlice, Profile
from mosaic_onnx.profiling.measure_slices import Choice

IN_PLAN = "in_plan"
"""Key in the ``meta`` of segments that were measured while a whole plan ran."""
ALONE = "alone_s"
"""Key in the ``meta`` of segments: what the slice takes alone, over and over."""


def learn(profile: Profile, segments: Sequence[MeasuredSlice]) -> Profile:
    """The profile with new segments, and with what they show of cuts and of slices that were measured alone only.

    A slice that ran in a plan before keeps the lesser figure: what disturbs a run only adds to it.
    """
    known = {_span(one): one for one in profile.segments}
    for one in segments:
        known[_span(one)] = _lesser(known.get(_span(one)), one)
    learned = replace(profile, segments=tuple(known.values()))
    devices = tuple(_with_cut_cost(learned, device) for device in learned.devices)
    company_s = {device.name: _company_seconds(learned, device) for device in devices}
    kept = tuple(
        one if _is_in_plan(one) or _is_whole(learned, one) else _in_company(one, company_s[device_of(one.state)])
        for one in learned.segments
    )
    return replace(learned, devices=devices, segments=kept)


def _span(one: MeasuredSlice) -> Choice:
    return one.first, one.last, one.state


def _is_in_plan(one: MeasuredSlice) -> bool:
    return bool(one.meta.get(IN_PLAN))


def _is_whole(profile: Profile, one: MeasuredSlice) -> bool:
    return (one.first, one.last) == (0, len(profile.layers) - 1)


def _alone_seconds(one: MeasuredSlice) -> float | None:
    """Return the seconds of a slice run alone; None where only a plan with it was run."""
    alone_s = one.meta.get(ALONE) if ALONE in one.meta else None if _is_in_plan(one) else one.seconds
    return alone_s if isinstance(alone_s, float) else None


def _lesser(old: MeasuredSlice | None, new: MeasuredSlice) -> MeasuredSlice:
    """Join the old and the new measurement of a slice."""
    if old is None or not _is_in_plan(new):
        return new
    if _is_in_plan(old):
        return old if old.seconds <= new.seconds else replace(new, meta=old.meta)
    return replace(new, meta={**new.meta, ALONE: _alone_seconds(old)})


def _in_company(one: MeasuredSlice, company_s: float) -> MeasuredSlice:
    """A slice measured alone, with what company costs slices of its device."""
    alone_s = _alone_seconds(one)
    if alone_s is None or (company_s == 0.0 and ALONE not in one.meta):
        return one
    return replace(one, seconds=alone_s + company_s, meta={**one.meta, ALONE: alone_s})


def _company_seconds(profile: Profile, device: Device) -> float:
    """Return the median excess in seconds of a device's slices in a plan over alone, at least zero."""
    more_s = [
        one.seconds - alone_s
        for one in profile.segments
        if device_of(one.state) == device.name and _is_in_plan(one) and not _is_whole(profile, one)
        for alone_s in [_alone_seconds(one)]
        if alone_s is not None
    ]
    return max(0.0, median(more_s)) if more_s else 0.0


def _with_cut_cost(profile: Profile, device: Device) -> Device:
    """The device whose ``slice_seconds`` is the median excess of its measured slices; never below nothing.

    Slices that ran in a plan tell it where there are any: alone, a slice takes less.
    """
    parts = [one for one in profile.segments if device_of(one.state) == device.name and not _is_whole(profile, one)]
    in_plan = [one for one in parts if _is_in_plan(one)]
    excess = [
        one.seconds - sum(cost.seconds for cost in costs if cost is not None)
        for one in in_plan or parts
        for costs in [[layer.cost.get(one.state) for layer in profile.layers[one.first : one.last + 1]]]
        if None not in costs
    ]
    return replace(device, slice_seconds=max(0.0, median(excess))) if excess else device
