"""Choose the levels of a device to measure, hold the device there, and time the change between levels."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import permutations

from mosaic_onnx.backends.base import Backend, LevelControl, SetsLevels
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.profiles import SwitchCost

SWITCH_REPETITIONS = 5
"""Changes of level that are timed each way; the median counts."""


def measured_states(device: Device) -> list[tuple[str, Level | None]]:
    """Return the states to measure: the only one, or the lowest and highest levels; others are estimated."""
    if not device.levels:
        return [(device.name, None)]
    pairs: list[tuple[str, Level | None]] = list(zip(device.states, device.levels, strict=True))
    return [pairs[0], pairs[-1]] if len(pairs) > 1 else pairs


@contextmanager
def held_at(backend: Backend, device: Device, level: Level | None) -> Iterator[LevelControl | None]:
    """Hold a device at a level inside the context; yield its control, None where it has no levels.

    Raises:
        BackendError: the level cannot be set.
    """
    if level is None or not isinstance(backend, SetsLevels):
        yield None
        return
    with closing(backend.level_control(device)) as control:
        control.set_level(level)
        yield control


def switch_costs(backend: Backend, device: Device) -> tuple[SwitchCost, ...]:
    """Measure how long changing a device's level takes, between its lowest and its highest level both ways.

    Every other pair gets the time of its direction: the kernel's path is the same, only the frequency differs.

    Raises:
        BackendError: a level cannot be set.
    """
    if len(device.levels) < 2 or not isinstance(backend, SetsLevels):
        return ()
    lowest, highest = device.levels[0], device.levels[-1]
    with closing(backend.level_control(device)) as control:
        control.set_level(lowest)
        up_s, down_s = [], []
        for _ in range(SWITCH_REPETITIONS):
            up_s.append(_seconds(control, highest))
            down_s.append(_seconds(control, lowest))
    median_s = {True: statistics.median(up_s), False: statistics.median(down_s)}
    return tuple(
        SwitchCost(device.name, before.name, after.name, seconds=median_s[after.frequency_hz > before.frequency_hz])
        for before, after in permutations(device.levels, 2)
    )


def _seconds(control: LevelControl, level: Level) -> float:
    started = time.perf_counter()
    control.set_level(level)
    return time.perf_counter() - started
