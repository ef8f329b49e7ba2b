"""The processor time that others take of the cores of this process: other programs, and the host of a virtual machine.

Linux tells both (proc(5): stat); elsewhere nobody does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mosaic_onnx.core.process.cpu_cores import usable_cores

_PROC = Path("/proc")
_BUSY = (1, 2, 3, 6, 7)
"""Fields of a core's line: user, nice, system, interrupts, soft interrupts."""
_STOLEN = 8
WINDOW_S = 0.2


@dataclass(frozen=True)
class CoreTimes:
    """Processor seconds so far, of the cores that this process may use.

    Attributes:
        busy_s: of every process.
        stolen_s: that a host gave to others.
        own_s: of this process and those that it started.
    """

    busy_s: float
    stolen_s: float
    own_s: float


@dataclass(frozen=True)
class OthersLoad:
    """The cores that others keep busy, on average over a while: 0.5 is a half of one core."""

    programs: float
    host: float


def others_load(window_s: float = WINDOW_S, proc: Path = _PROC) -> OthersLoad | None:
    """Watch for a while what others take of the cores; None where the system does not tell.

    Args:
        window_s: so long.
        proc: the system's folder of processes.
    """
    before, began_s = read_core_times(proc), time.monotonic()
    if before is None:
        return None
    time.sleep(window_s)
    after = read_core_times(proc)
    return None if after is None else load_between(before, after, time.monotonic() - began_s)


def load_between(before: CoreTimes, after: CoreTimes, seconds: float) -> OthersLoad:
    """Return what others took between two readings."""
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return OthersLoad(max(0.0, others_s) / seconds, max(0.0, after.stolen_s - before.stolen_s) / seconds)


def read_core_times(proc: Path = _PROC) -> CoreTimes | None:
    """Return the processor seconds so far; None where the system does not tell them."""
    if not hasattr(os, "sysconf"):
        return None
    try:
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        names = {f"cpu{core}" for core in usable_cores()}
        lines = [line.split() for line in (proc / "stat").read_text().splitlines()]
        cores = [line for line in lines if line[0] in names]
        busy = sum(int(line[at]) for line in cores for at in _BUSY)
        stolen = sum(int(line[_STOLEN]) for line in cores)
        own = sum(_ticks(proc, process) for process in _family(proc, os.getpid()))
    except (OSError, ValueError, IndexError):
        return None
    return CoreTimes(busy * tick_s, stolen * tick_s, own * tick_s)


def _family(proc: Path, process: int) -> Iterable[int]:
    """Yield a process and all that it started, as far as they run."""
    yield process
    try:
        started = [int(word) for task in (proc / str(process) / "task").iterdir() for word in _children(task)]
    except OSError:  # it has ended in the meantime
        return
    for child in started:
        yield from _family(proc, child)


def _children(task: Path) -> list[str]:
    return (task / "children").read_text().split()


def _ticks(proc: Path, process: int) -> int:
    """Return the clock ticks that a process has had, those of its ended children included; 0 where it has ended."""
    try:
        fields = (proc / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
