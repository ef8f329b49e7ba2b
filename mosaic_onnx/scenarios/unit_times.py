"""The times around a slice that are not its own, until it begins on its unit, and how much its own time varies there.

They are measured where a schedule is rehearsed, and stand in a profile's ``meta``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields

from mosaic_onnx.core.errors import ModelError

UNIT_TIMES_KEY = "unit_times"
"""Key of a profile's ``meta``: by device, the fields of ``UnitTimes`` by name; what is absent is 0."""


@dataclass(frozen=True)
class UnitTimes:
    """The times around the slices of one unit, and the spread of their own.

    Attributes:
        turn_s: of every slice: the unit is taken, but runs neither this slice nor the one before it (inputs are copied
            in, outputs are handed out, the next slice is looked for).
        arrival_s: from a request's arrival until its slice stands in the unit's queue; the unit is free meanwhile.
        wake_s: from the end of a slice on another unit until its follower stands in this unit's queue; free likewise.
        spread: standard deviation of a slice's time over its mean, from frame to frame. It lengthens what waits for
            the last of several models, and what queues.
    """

    turn_s: float = 0.0
    arrival_s: float = 0.0
    wake_s: float = 0.0
    spread: float = 0.0

    def at_least(self, other: UnitTimes) -> UnitTimes:
        """Return the larger one of each figure."""
        return UnitTimes(*map(max, astuple(self), astuple(other)))

    def as_fields(self) -> dict[str, float]:
        """Return the figures by name, for ``meta``."""
        return asdict(self)


def read_unit_times(value: object, where: str) -> UnitTimes:
    """Return what stands in a profile's ``meta`` about one device.

    Raises:
        ModelError: it is no object, names something else, or has a figure that is no number from 0 on.
    """
    known = [field.name for field in fields(UnitTimes)]
    if not isinstance(value, Mapping):
        raise ModelError(f"{where}: {value!r} is not an object", f"its keys are {', '.join(known)}")
    for key, seconds in value.items():
        if key not in known:
            raise ModelError(f"{where}.{key} is not known", f"its keys are {', '.join(known)}")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise ModelError(f"{where}.{key}: {seconds!r} is not a number from 0 on")
    return UnitTimes(**{key: float(seconds) for key, seconds in value.items()})
