"""Deadlines: long loops look at the clock, and a stage whose time is up leaves its caller with what it had before."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
FOREVER = float("inf")
EVERY = 64
"""A loop looks at the clock once for so many items."""


class TimeUpError(Exception):
    """The time of a stage is up; its caller goes on without it."""


def check_time(until: float) -> None:
    """Check whether there is time left.

    Args:
        until: ``time.monotonic()`` when the time is up.

    Raises:
        TimeUpError: it is.
    """
    if time.monotonic() > until:
        raise TimeUpError


def timed(items: Iterable[Item], until: float) -> Iterator[Item]:
    """Yield the items as long as there is time.

    Raises:
        TimeUpError: it is later than ``until``.
    """
    if until == FOREVER:
        yield from items
        return
    for number, item in enumerate(items):
        if not number % EVERY:
            check_time(until)
        yield item


def part_of(until: float, share: float) -> float:
    """Return the time at which a part of what is left until then is used up."""
    now = time.monotonic()
    return now + share * max(until - now, 0.0)
