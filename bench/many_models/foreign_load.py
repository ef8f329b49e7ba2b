"""The share of the processors that others took while something was measured, on a machine that is shared."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from mosaic_onnx.core.process.machine_load import load_between, read_core_times

Figure = TypeVar("Figure")
MOST = 0.05
"""The share of one core that others may take before a measurement is taken again."""
TRIES = 4


class Watched(NamedTuple):
    """The work of the processors during a measurement, in cores; nothing where the system does not tell.

    Attributes:
        own: this process and its children.
        foreign: everything else, other guests of a host among it.
    """

    own: float
    foreign: float


def least_disturbed(measure: Callable[[], Figure], tries: int = TRIES) -> tuple[Figure, Watched]:
    """Measure until others took next to nothing, or so many times; return the least disturbed one.

    Where the system does not tell, the first one counts as undisturbed.
    """
    found: list[tuple[Figure, Watched]] = []
    for _ in range(tries):
        found.append(_watched(measure))
        if found[-1][1].foreign <= MOST:
            break
    return min(found, key=lambda one: one[1].foreign)


def _watched(measure: Callable[[], Figure]) -> tuple[Figure, Watched]:
    before, began_s = read_core_times(), time.perf_counter()
    figure = measure()
    after, lasted_s = read_core_times(), time.perf_counter() - began_s
    if before is None or after is None:
        return figure, Watched(0.0, 0.0)
    load = load_between(before, after, lasted_s)
    return figure, Watched((after.own_s - before.own_s) / lasted_s, load.programs + load.host)
