"""CPU cores: those that this process may use, and pinning the calling thread to some of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from mosaic_onnx.core.devices import OptionValue
from mosaic_onnx.core.errors import UsageError

_TOPOLOGY = Path("/sys/devices/system/cpu")
_MOST_CORES = 2**16
MOST_THREADS = 1024
"""No device may ask for more: a runtime that starts a million of them answers never."""


def refuse_thread_count(device: str, count: OptionValue) -> None:
    """Refuse a number of threads that no runtime starts.

    Raises:
        UsageError: it is not from 1 to ``MOST_THREADS``; the message names the device.
    """
    if type(count) is not int or not 1 <= count <= MOST_THREADS:
        raise UsageError(f"device {device}: threads = {count!r} is not a number from 1 to {MOST_THREADS}")


def usable_cores() -> tuple[int, ...]:
    """Return the numbers of the cores that this process may run on, ascending."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def default_thread_count() -> int:
    """Return the number of physical cores that this process may use: two hardware threads share a core's units."""
    cores = usable_cores()
    return max(1, len({_siblings(core) for core in cores}))


@cache
def _siblings(core: int) -> str:
    try:
        return (_TOPOLOGY / f"cpu{core}" / "topology" / "thread_siblings_list").read_text()
    except OSError:
        return str(core)


def parse_cores(text: str) -> tuple[int, ...]:
    """Return the core numbers in a text such as ``"0-3,6"``, in the order given.

    Raises:
        UsageError: the text is not such a list, or names a core that this process may not use.
    """
    cores: list[int] = []
    try:
        for part in str(text).split(","):
            first, _, last = part.strip().partition("-")
            if int(last or first) - int(first) >= _MOST_CORES:
                raise ValueError(part)
            cores.extend(range(int(first), int(last or first) + 1))
    except ValueError:
        raise UsageError(f"cores = {text!r} is not a list of core numbers", 'write it as "0-3" or "4,5,6"') from None
    usable = usable_cores()
    foreign = [core for core in cores if core not in usable]
    if foreign or not cores or len(set(cores)) != len(cores):
        what = f"core {foreign[0]} is not one that this process may use" if foreign else "no core, or one core twice"
        raise UsageError(f"cores = {text!r}: {what}", f"usable here: {', '.join(map(str, usable))}")
    return tuple(cores)


def core_words(cores: Sequence[int]) -> str:
    """Return core numbers as ``parse_cores`` reads them, runs joined: ``0-3,6``."""
    runs: list[list[int]] = []
    for core in cores:
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def why_not_cores(value: OptionValue) -> str | None:
    """Return why a text names no cores that this process may use; None where it does."""
    try:
        parse_cores(str(value))
    except UsageError as error:
        return error.message
    return None


def why_not_threads(value: OptionValue) -> str | None:
    """Return why a number of threads is more than this process has cores for; None where it is not."""
    count = len(usable_cores())
    return f"this process may use {count} cores" if isinstance(value, int) and value > count else None


@contextmanager
def pinned(cores: frozenset[int] | None) -> Iterator[None]:
    """Pin the calling thread to ``cores`` inside the context; None does nothing."""
    if cores is None or (before := os.sched_getaffinity(0)) == cores:
        yield
        return
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def can_pin() -> bool:
    """Return whether this system lets a thread choose its cores (Linux does)."""
    return hasattr(os, "sched_setaffinity")
