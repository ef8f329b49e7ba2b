"""The times around a slice that are not its own: until a request gets to its unit, and between two slices there.

They are measured where a schedule is rehearsed, and stand in a profile's ``meta``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from mosaic_onnx.core.errors import ModelError

HANDOVER_KEY = "handovers"
"""Key of a profile's ``meta``: by device, the fields of ``Handover`` by name; what is absent takes no time."""


@dataclass(frozen=True)
class Handover:
    """The times around the slices of one unit, in seconds.

    Attributes:
        turn_s: of every slice: the unit is taken, but runs neither this slice nor the one before it (inputs are copied
            in, outputs are handed out, the next slice is looked for).
        arrival_s: from a request's arrival until its slice stands in the unit's queue; the unit is free meanwhile.
        wake_s: from the end of a slice on another unit until its follower stands in this unit's queue; free likewise.
    """

    turn_s: float = 0.0
    arrival_s: float = 0.0
    wake_s: float = 0.0

    def at_least(self, other: Handover) -> Handover:
        """Return the larger one of each time."""
        return Handover(
            max(self.turn_s, other.turn_s), max(self.arrival_s, other.arrival_s), max(self.wake_s, other.wake_s)
        )

    def as_fields(self) -> dict[str, float]:
        """Return the times by name, for ``meta``."""
        return asdict(self)


def read_handover(value: object, where: str) -> Handover:
    """Return what stands in a profile's ``meta`` about one device.

    Raises:
        ModelError: it is no object, names something else, or has a time that is no number from 0 on.
    """
    known = [field.name for field in fields(Handover)]
    if not isinstance(value, Mapping):
        raise ModelError(f"{where}: {value!r} is not an object", f"its keys are {', '.join(known)}")
    for key, seconds in value.items():
        if key not in known:
            raise ModelError(f"{where}.{key} is not known", f"its keys are {', '.join(known)}")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise ModelError(f"{where}.{key}: {seconds!r} is not a number of seconds from 0 on")
    return Handover(**{key: float(seconds) for key, seconds in value.items()})
