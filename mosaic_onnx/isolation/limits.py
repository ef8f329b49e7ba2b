"""The memory limit of a child process: no more than a share of what is free."""

from __future__ import annotations

import sys
from pathlib import Path

MEMORY_SHARE = 0.8
"""Of the memory that is free when a child starts, so much may be its own."""
LEAST_BYTES = 512 << 20
"""A child gets so much however little is free: less, and no runtime starts."""
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def free_bytes() -> int | None:
    """Return memory that processes may still take, by the kernel and the control group; None if unknown."""
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None
    try:
        most = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        return free if most == "max" else min(free, max(0, int(most) - used))
    except (OSError, ValueError):
        return free


def child_memory_bytes() -> int | None:
    """Return what a child that starts now may take; None where nobody tells what is free."""
    free = free_bytes()
    return None if free is None else max(LEAST_BYTES, int(MEMORY_SHARE * free))


def limit_memory(limit_bytes: int | None) -> None:
    """Let this process take no more private memory than this; what would go beyond fails in it.

    Address space that is only reserved does not count (runtimes of GPUs reserve terabytes); Linux 4.7 and later.
    """
    if limit_bytes is None or sys.platform != "linux":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = limit_bytes if most == resource.RLIM_INFINITY else min(limit_bytes, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
