"""Huge pages for weights: a kernel that reads each weight once waits for page tables as well as for memory.

Linux uses huge pages (2 MiB on x86) automatically on some systems only, and not reliably; a runtime's packed weights
are on small pages. Measured on AlexNet, one thread: the fully connected layers take a quarter less on huge
pages, the whole model 6 %, and every load takes the same time. Convolutions read a weight once for each position, from
caches: networks of them gain nothing and load up to twice as long, so theirs stay. Where the system forbids huge pages,
this does nothing.
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
import onnx
from numpy.typing import NDArray

from mosaic_onnx.core.graph.tensors import tensor_bytes

LEAST_BYTES = 4 << 20
"""Slices with fewer bytes of weights that are read once are skipped: caches hold them, and searching costs
milliseconds."""
_CONVOLUTIONS = {"Conv", "ConvInteger", "ConvTranspose", "DeformConv", "FusedConv", "QLinearConv"}
_WEIGHT_FORMS = {"Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Reshape", "Transpose"}
"""Operators that may stand between a weight and the operator that computes with it."""
FULL_SHARE = 0.9
"""Memory is moved where at least this share of it is in use."""
_MADV_COLLAPSE = 25
"""MADV_COLLAPSE, since Linux 6.1; earlier the call fails without effect."""
_SETTINGS = Path("/sys/kernel/mm/transparent_hugepage")
_MAPS = Path("/proc/self/maps")


class AddressRange(NamedTuple):
    """A range of memory addresses, without its end."""

    start: int
    end: int


def bytes_read_once(graph: onnx.GraphProto) -> int:
    """Return the bytes of the weights that a run reads once: of all but convolutions; 0 where those hold most bytes."""
    of = {tensor.name: tensor_bytes(tensor.data_type, list(tensor.dims)) for tensor in graph.initializer}
    made_from = {
        output: list(node.input) for node in graph.node if node.op_type in _WEIGHT_FORMS for output in node.output
    }
    ahead = [name for node in graph.node if node.op_type in _CONVOLUTIONS for name in node.input[1:]]
    seen: set[str] = set()
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead.extend(made_from.get(name, ()))
    convolved = sum(of.get(name, 0) for name in seen)
    others = sum(of.values()) - convolved
    return others if others > convolved else 0


@contextmanager
def on_huge_pages(read_once_bytes: int) -> Iterator[None]:
    """Put the memory that the block adds to the process on huge pages, as far as it is filled when the block ends.

    Args:
        read_once_bytes: bytes of the weights loaded in the block that a run reads once (``bytes_read_once``).
    """
    page_bytes = _huge_page_bytes() if read_once_bytes >= LEAST_BYTES else 0
    before = private_spans(_maps()) if page_bytes else []
    yield
    if page_bytes:
        for span in added(before, private_spans(_maps())):
            _collapse(span, page_bytes)


def private_spans(maps: str) -> list[AddressRange]:
    """Yield the writable memory that belongs to no file, ascending, from the text of ``/proc/PID/maps``."""
    found = []
    for line in maps.splitlines():
        addresses, rights, _, _, inode, *name = line.split(maxsplit=5)
        if rights == "rw-p" and inode == "0" and (not name or name[0].startswith(("[heap]", "[anon"))):
            start, end = (int(part, 16) for part in addresses.split("-"))
            found.append(AddressRange(start, end))
    return found


def added(before: Sequence[AddressRange], after: Sequence[AddressRange]) -> Iterator[AddressRange]:
    """Yield the ranges that are in ``after`` only; both are ascending and without overlap."""
    remaining = deque(before)
    for span in after:
        free = span.start
        while remaining and remaining[0].start < span.end:
            known = remaining[0]
            if free < known.start:
                yield AddressRange(free, known.start)
            free = max(free, known.end)
            if known.end > span.end:
                break  # the range reaches into the next one
            remaining.popleft()
        if free < span.end:
            yield AddressRange(free, span.end)


def full_blocks(span: AddressRange, block_bytes: int, resident: NDArray[np.bool_]) -> Iterator[AddressRange]:
    """Yield runs of whole, aligned blocks of which nearly every page is in use.

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
    """Return the system's list of this process's memory; empty where it is not available."""
    try:
        return _MAPS.read_text()
    except OSError:
        return ""


def _huge_page_bytes() -> int:
    """Return the bytes of a huge page; 0 where there are none or they are forbidden."""
    try:
        if sys.platform != "linux" or "[never]" in (_SETTINGS / "enabled").read_text():
            return 0
        return int((_SETTINGS / "hpage_pmd_size").read_text())
    except (OSError, ValueError):
        return 0


def _collapse(span: AddressRange, block_bytes: int) -> None:
    """Ask the system to move full blocks to huge pages; it may decline."""
    start, end = -(-span.start // block_bytes) * block_bytes, span.end // block_bytes * block_bytes
    if start >= end:
        return
    libc, told = ctypes.CDLL(None), bytearray((end - start) // mmap.PAGESIZE)
    place = (ctypes.c_ubyte * len(told)).from_buffer(told)
    if libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(end - start), place):
        return  # released by another thread in the meantime
    resident = (np.frombuffer(told, dtype=np.uint8) & 1).astype(np.bool_)
    for first, last in full_blocks(AddressRange(start, end), block_bytes, resident):
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_COLLAPSE)
