"""Levels that must not grow in a long-lived process: memory, descriptors, threads, temporary files. Linux only."""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MEMORY_SHARE = 0.05
"""The share of its memory that a process may gain between the first and the last third of a soak."""
MEMORY_BYTES = 32 * 2**20
"""The least gain that counts: allocators keep and give back in steps."""


@dataclass(frozen=True)
class Levels:
    """One reading.

    Attributes:
        memory_bytes: resident.
        descriptor_count: open files, pipes, sockets.
        thread_count: native ones too.
        temporary_count: entries of the folder for temporary files.
        child_count: processes that this one started and that still live.
    """

    memory_bytes: int
    descriptor_count: int
    thread_count: int
    temporary_count: int
    child_count: int

    @classmethod
    def now(cls) -> Levels:
        """Read them after a collection of garbage."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        tasks = list(Path("/proc/self/task").iterdir())
        children = [task / "children" for task in tasks]
        return cls(
            memory_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
            descriptor_count=len(os.listdir("/proc/self/fd")),
            thread_count=len(tasks),
            temporary_count=len(os.listdir(tempfile.gettempdir())),
            child_count=sum(len(each.read_text().split()) for each in children if each.exists()),
        )


def leaks(readings: Sequence[Levels]) -> list[str]:
    """Return what grew from the first third of the readings to the last, one sentence each; empty if nothing did.

    Args:
        readings: in order, at least three; the warm-up is left out.
    """
    third = max(1, len(readings) // 3)
    found = []
    for name in ("memory_bytes", "descriptor_count", "thread_count", "temporary_count", "child_count"):
        values = [getattr(each, name) for each in readings]
        early, late = statistics.median(values[:third]), statistics.median(values[-third:])
        allowed = max(MEMORY_BYTES, MEMORY_SHARE * early) if name == "memory_bytes" else 0
        if late > early + allowed:
            found.append(f"{name} grew from {early:g} to {late:g}")
    return found
