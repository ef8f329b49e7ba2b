"""Learn from served frames what passes around slices on each unit, and how much their own times vary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from typing import Literal

from mosaic_onnx.scenarios.serving.frame import Frame
from mosaic_onnx.scenarios.unit_times import UnitTimes

_DISTURBED = 3.0
"""A time of more than so many medians was held up by something that is no part of the scenario."""
_FEWEST = 5
"""Fewer waits say nothing."""
_Kind = Literal["turn", "arrival", "wake"]


@dataclass
class _Waits:
    """The seconds that slices of one unit waited though it was theirs, by why they did."""

    by_kind: dict[_Kind, list[float]] = field(default_factory=dict)

    def add(self, kind: _Kind, seconds: float) -> None:
        self.by_kind.setdefault(kind, []).append(seconds)

    def mean(self, kind: _Kind, default: float) -> float:
        found = self.by_kind.get(kind, [])
        return undisturbed_mean(found) if len(found) >= _FEWEST else default


def undisturbed_mean(values: Sequence[float]) -> float:
    """Return the mean of some times, those left out that took several times as long as the median."""
    most = _DISTURBED * median(values)
    return fmean(value for value in values if value <= most)


def measured_unit_times(frames: Sequence[Frame], unit_of_device: Mapping[str, str]) -> dict[str, UnitTimes]:
    """Return by device the times around its slices, and their spread.

    A slice that found its unit at work when it got ready tells the unit's turn; one that found it idle tells how long
    the request, or the end of a slice elsewhere, took to get there, the turn not counted. A unit that too few slices
    tell of has the means over all units.

    Args:
        frames: as they were served.
        unit_of_device: the unit that each device occupies.
    """
    waits, all_waits = {unit: _Waits() for unit in unit_of_device.values()}, _Waits()
    for unit, kind, seconds in _waits(frames, unit_of_device):
        waits[unit].add(kind, seconds)
        all_waits.add(kind, seconds)
    usual = _unit_times_of(all_waits, UnitTimes())
    spread = _spread(frames)
    by_unit = {unit: replace(_unit_times_of(one, usual), spread=spread) for unit, one in waits.items()}
    return {device: by_unit[unit] for device, unit in unit_of_device.items()}


def _spread(frames: Sequence[Frame]) -> float:
    """Return the standard deviation of the slices' times, each over the mean of its slice; over all units."""
    by_slice: dict[tuple[str, int, str], list[float]] = {}
    for frame in frames:
        for span in frame.spans:
            by_slice.setdefault((frame.model, span.slice, span.device), []).append(span.end_s - span.start_s)
    parts: list[float] = []
    for row in by_slice.values():
        mean_s, most_s = undisturbed_mean(row), _DISTURBED * median(row)
        if len(row) >= _FEWEST and mean_s > 0:
            parts += [(seconds / mean_s - 1.0) ** 2 for seconds in row if seconds <= most_s]
    return math.sqrt(fmean(parts)) if parts else 0.0


def _unit_times_of(waits: _Waits, usual: UnitTimes) -> UnitTimes:
    turn_s = waits.mean("turn", usual.turn_s)
    arrival_s = waits.mean("arrival", usual.arrival_s + turn_s) - turn_s
    wake_s = waits.mean("wake", usual.wake_s + turn_s) - turn_s
    return UnitTimes(turn_s, max(0.0, arrival_s), max(0.0, wake_s))


def _waits(frames: Sequence[Frame], unit_of_device: Mapping[str, str]) -> list[tuple[str, _Kind, float]]:
    """Return (unit, kind, seconds) of every slice: from when it was ready and its unit free until it began."""
    spans: dict[str, list[tuple[float, float, float, bool]]] = {unit: [] for unit in unit_of_device.values()}
    for frame in frames:
        for span in frame.spans:
            before = [one.end_s for one in frame.spans if one is not span and one.end_s <= span.start_s]
            ready_s = max(before, default=frame.arrival_s)
            spans[unit_of_device[span.device]].append((span.start_s, span.end_s, ready_s, not before))
    found: list[tuple[str, _Kind, float]] = []
    for unit, row in spans.items():
        free_s = -math.inf
        for start_s, end_s, ready_s, is_first in sorted(row):
            if free_s >= ready_s:
                found.append((unit, "turn", start_s - free_s))
            else:
                found.append((unit, "arrival" if is_first else "wake", start_s - ready_s))
            free_s = end_s
    return found
