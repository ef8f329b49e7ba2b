"""The share of the processors that others took while something was measured, on a machine that is shared."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

Figure = TypeVar("Figure")
MOST = 0.05
"""The share of one core that others may take before a measurement is taken again."""
TRIES = 4
_STAT = Path("/proc/stat")


class Watched(NamedTuple):
    """The work of the processors during a measurement, in cores.

    Attributes:
        own: this process and its children that ended.
        foreign: everything else.
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
    began_s, busy_s, own_s = time.perf_counter(), _busy_s(), sum(os.times()[:4])
    figure = measure()
    lasted_s = time.perf_counter() - began_s
    own = (sum(os.times()[:4]) - own_s) / lasted_s
    busy = (_busy_s() - busy_s) / lasted_s if _STAT.is_file() else own
    return figure, Watched(own, max(0.0, busy - own))


def _busy_s() -> float:
    """Return the seconds in which any processor worked, those stolen by a host's other guests among them."""
    if not _STAT.is_file():
        return 0.0
    user, nice, system, _idle, _wait, irq, soft_irq, stolen = map(int, _STAT.read_text().split()[1:9])
    return (user + nice + system + irq + soft_irq + stolen) / os.sysconf("SC_CLK_TCK")
