"""Memory shared by lifetime: two tensors lie on the same bytes only if one is dead before the other is made.

A greedy offset planner, largest tensor first, lowest gap that fits (the method of Pisarchyk and Lee, "Efficient Memory
Management for Deep Neural Net Inference", 2020), on the order that is *certain*: with devices side by side, two tensors
share bytes only where every user of the one is over before the maker of the other starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALIGNMENT_BYTES = 64
"""A cache line, and the widest vector of today's CPUs."""
SHARING_BYTES = 4096
"""Smaller tensors are laid side by side: sharing them saves nothing and costs planning time."""


@dataclass(frozen=True)
class Need:
    """A tensor that wants memory.

    Attributes:
        name: its name.
        bytes: its size.
        maker: index of the slice that writes it.
        users: bit ``i`` is set for every slice that writes or reads it; ``FOREVER`` keeps it to the end.
    """

    name: str
    bytes: int
    maker: int
    users: int


FOREVER = -1
"""``users`` of a tensor that must outlive every slice."""


@dataclass(frozen=True)
class Layout:
    """The layout of tensors in one block of memory.

    Attributes:
        offsets: bytes from the start, by tensor name; multiples of 64.
        bytes: size of the block.
        unshared_bytes: what the same tensors would take without sharing.
    """

    offsets: Mapping[str, int]
    bytes: int
    unshared_bytes: int


def lay_out(needs: Sequence[Need], before: Sequence[int]) -> Layout:
    """Offsets for all tensors.

    Args:
        needs: the tensors.
        before: [slice] bit ``j`` is set if slice ``j`` is certainly over when this one starts.
    """
    ordered = sorted(needs, key=lambda each: (-each.bytes, each.name))
    large = [need for need in ordered if need.bytes >= SHARING_BYTES]
    apart = _apart_in_time(large, before)
    starts = np.zeros(len(large), np.int64)
    sizes = np.array([need.bytes for need in large], np.int64)
    total = 0
    for index, need in enumerate(large):
        others = np.flatnonzero(~apart[index, :index])
        others = others[np.argsort(starts[others], kind="stable")]
        starts[index] = _lowest_gap(starts[others].tolist(), sizes[others].tolist(), need.bytes)
        total = max(total, int(starts[index]) + aligned(need.bytes))
    offsets = {need.name: int(start) for need, start in zip(large, starts, strict=True)}
    for need in ordered[len(large) :]:
        offsets[need.name] = total
        total += aligned(need.bytes)
    return Layout(offsets, total, sum(aligned(need.bytes) for need in needs))


def _apart_in_time(needs: Sequence[Need], before: Sequence[int]) -> NDArray[np.bool_]:
    """[needs, needs] one of the two is certainly dead when the other is made."""
    count = len(before)
    width = -(-count // 8)
    packed = np.frombuffer(b"".join(mask.to_bytes(width, "little") for mask in before), np.uint8)
    is_before = np.unpackbits(packed.reshape(count, width), axis=1, count=count, bitorder="little").astype(bool)
    makers = np.array([need.maker for need in needs], np.int64)
    dead = np.zeros((len(needs), len(needs)), bool)  # [one, other] one is dead when other is made
    for index, need in enumerate(needs):
        if need.users >= 0:
            dead[index] = np.logical_and.reduce([is_before[makers, user] for user in _bits(need.users)])
    return dead | dead.T


def _bits(mask: int) -> Iterator[int]:
    """Numbers of the bits that are set, ascending."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def is_dead_before(users: int, maker: int, before: Sequence[int]) -> bool:
    """Every user is certainly over when slice ``maker`` starts."""
    return users >= 0 and maker >= 0 and users & ~before[maker] == 0


def _lowest_gap(starts: Sequence[int], sizes: Sequence[int], size: int) -> int:
    """The lowest aligned offset where ``size`` bytes fit between what is taken, given by start."""
    end = 0
    for start, length in zip(starts, sizes, strict=True):
        if start - end >= size:
            break
        end = max(end, start + aligned(length))
    return end


def aligned(size: int) -> int:
    """The size rounded up to the alignment."""
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
