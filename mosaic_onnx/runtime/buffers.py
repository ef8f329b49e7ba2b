"""Memory shared by lifetime: two tensors lie on the same bytes only if one is dead before the other is made.

A greedy offset planner, largest tensor first, lowest gap that fits (the method of Pisarchyk and Lee, "Efficient Memory
Management for Deep Neural Net Inference", 2020), on the order that is *certain*: with devices side by side, two tensors
share bytes only where every user of the one is over before the maker of the other starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    """Where tensors lie in one block of memory.

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
    offsets: dict[str, int] = {}
    placed: list[Need] = []
    total = 0
    for need in sorted(needs, key=lambda each: (-each.bytes, each.name)):
        if need.bytes < SHARING_BYTES:
            offset = total
        else:
            taken = [(offsets[other.name], other.bytes) for other in placed if _overlap_in_time(need, other, before)]
            offset = _lowest_gap(sorted(taken), need.bytes)
            placed.append(need)
        offsets[need.name] = offset
        total = max(total, offset + aligned(need.bytes))
    return Layout(offsets, total, sum(aligned(need.bytes) for need in needs))


def _overlap_in_time(one: Need, other: Need, before: Sequence[int]) -> bool:
    return not (is_dead_before(one.users, other.maker, before) or is_dead_before(other.users, one.maker, before))


def is_dead_before(users: int, maker: int, before: Sequence[int]) -> bool:
    """Every user is certainly over when slice ``maker`` starts."""
    return users >= 0 and maker >= 0 and users & ~before[maker] == 0


def _lowest_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """The lowest aligned offset where ``size`` bytes fit between (offset, bytes) pairs sorted by offset."""
    end = 0
    for offset, length in taken:
        if offset - end >= size:
            break
        end = max(end, offset + aligned(length))
    return end


def aligned(size: int) -> int:
    """The size rounded up to the alignment."""
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
