"""The machine's memory."""

from __future__ import annotations

import os

LARGE_BYTES = 2**34
"""Anything up to this size is tried on every machine."""


def physical_bytes() -> int:
    """Return the machine's physical memory; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def is_too_large(size_bytes: int) -> bool:
    """Return whether something is larger than this machine's memory, and so not meant for it."""
    return size_bytes > max(LARGE_BYTES, physical_bytes())
