"""Declared power of devices, for machines where no meter can be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mosaic_onnx.core.errors import UsageError


@dataclass(frozen=True)
class Watts:
    """Declared power of a device at its highest level.

    Attributes:
        idle_w: drawn all the time, whatever it does.
        busy_w: drawn while it computes, the idle power included.
    """

    idle_w: float
    busy_w: float


def parse_watts(words: Sequence[str]) -> dict[str, Watts]:
    """Return declared power by device from ``DEVICE=IDLE,BUSY`` words.

    Raises:
        UsageError: a word has another form, or less busy than idle power.
    """
    declared: dict[str, Watts] = {}
    for word in words:
        name, equals, numbers = word.partition("=")
        try:
            idle_w, busy_w = (float(number) for number in numbers.split(","))
        except ValueError:
            raise UsageError(f"--watts {word!r} is not DEVICE=IDLE,BUSY", "for example --watts cpu=3,15") from None
        if not name or not equals or not (math.isfinite(busy_w) and 0 <= idle_w <= busy_w):
            raise UsageError(f"--watts {word!r}: idle and busy power are 0 or more, and busy is not less than idle")
        declared[name] = Watts(idle_w, busy_w)
    return declared
