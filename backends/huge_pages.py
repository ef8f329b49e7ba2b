"""Huge pages for weights: a kernel that reads each weight once waits for page tables as well as for memory.

Linux puts memory on huge pages (2 MiB on x86) by itself in some systems only, and then by chance; a runtime's packed
weights lie on small ones. Measured on AlexNet, one thread: the fully connected layers take a quarter less on huge
pages, the whole model 6 %, and every load takes the same time. Where the system forbids them nothing happens.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST_BYTES = 4 << 20
"""Slices with fewer bytes of weights are left alone: the caches hold them, and looking costs milliseconds."""
FULL_SHARE = 0.9
"""Memory is moved where at least so much of it is in use: the rest is filled up."""
_MADV_COLLAPSE = 25
"""Linux 6.1 and later; before, the call fails and changes nothing."""
_SETTINGS = Path("/sys/kernel/mm/transparent_hugepage")
_MAPS = Path("/proc/self/maps")


class AddressRange(NamedTuple):
    """Addresses of memory, the end not in it."""

    start: int
    end: int


@contextmanager
def on_huge_pages(weight_bytes: int) -> Iterator[None]:
    """Put the memory that the block adds to the process, as far as it is filled when the block ends, on huge pages.

    Args:
        weight_bytes: of what is loaded in the block.
    """
    page_bytes = _huge_page_bytes() if weight_bytes >= LEAST_BYTES else 0
    before = private_spans(_maps()) if page_bytes else []
    yield
    if page_bytes:
        for span in added(before, private_spans(_maps())):
            _collapse(span, page_bytes)


def private_spans(maps: str) -> list[AddressRange]:
    """Writable memory that belongs to no file, ascending, from the text of ``/proc/PID/maps``."""
    found = []
    for line in maps.splitlines():
        addresses, rights, _, _, inode, *name = line.split(maxsplit=5)
        if rights == "rw-p" and inode == "0" and (not name or name[0].startswith(("[heap]", "[anon"))):
            start, end = (int(part, 16) for part in addresses.split("-"))
            found.append(AddressRange(start, end))
    return found


def added(before: Sequence[AddressRange], after: Sequence[AddressRange]) -> Iterator[AddressRange]:
    """Yield what is in ``after`` only; both ascending and without overlap."""
    remaining = deque(before)
    for span in after:
        free = span.start
        while remaining and remaining[0].start < span.end:
            known = remaining[0]
            if free < known.start:
                yield AddressRange(free, known.start)
            free = max(free, known.end)
            if known.end > span.end:
                break  # it reaches into the next one
            remaining.popleft()
        if free < span.end:
            yield AddressRange(free, span.end)


def full_blocks(span: AddressRange, block_bytes: int, resident: NDArray[np.bool_]) -> Iterator[AddressRange]:
    """Yield stretches of whole, aligned blocks of which nearly every page is in use.

    Args:
        span: aligned to blocks at both ends.
        block_bytes: of a huge page.
        resident: [page] whether it is in memory.
    """
    pages = resident.reshape((span.end - span.start) // block_bytes, -1)
    full = np.concatenate(([False], pages.mean(axis=1) >= FULL_SHARE, [False]))
    edges = np.flatnonzero(full[1:] != full[:-1]).reshape(-1, 2)
    for first, last in edges.tolist():
        yield AddressRange(span.start + first * block_bytes, span.start + last * block_bytes)


def _maps() -> str:
    """Return what the system tells of this process's memory; nothing where it keeps that to itself."""
    try:
        return _MAPS.read_text()
    except OSError:
        return ""


def _huge_page_bytes() -> int:
    """Return the bytes of a huge page; 0 where there are none, or the system's owner forbids them."""
    try:
        if sys.platform != "linux" or "[never]" in (_SETTINGS / "enabled").read_text():
            return 0
        return int((_SETTINGS / "hpage_pmd_size").read_text())
    except (OSError, ValueError):
        return 0


def _collapse(span: AddressRange, block_bytes: int) -> None:
    """Move what is full; the system may decline."""
    start, end = -(-span.start // block_bytes) * block_bytes, span.end // block_bytes * block_bytes
    if start >= end:
        return
    libc, told = ctypes.CDLL(None), bytearray((end - start) // mmap.PAGESIZE)
    place = (ctypes.c_ubyte * len(told)).from_buffer(told)
    if libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(end - start), place):
        return  # given back meanwhile, by another thread
    resident = (np.frombuffer(told, dtype=np.uint8) & 1).astype(np.bool_)
    for first, last in full_blocks(AddressRange(start, end), block_bytes, resident):
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_COLLAPSE)
