"""The certificate of a search: how much it looked at, what it left out and why, how far the answer can be off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Certificate:
    """The proof of a search.

    Attributes:
        evaluated: mappings whose cost was computed.
        pruned: mappings left out, by reason: ``capacity`` (tiles do not fit), ``single_buffers`` (double buffers fit
            and are no worse), ``order`` (another moves no more bytes), ``array`` (the unrolling's own bound is no
            better than the answer), ``tiles`` (the tiling's own bound is no better).
        bound: no mapping of the space costs less; in cycles, joules or their product.
        gap: (answer - bound) / answer; 0 proves the optimum, None where a method proves nothing.
    """

    evaluated: int
    pruned: Mapping[str, int]
    bound: float | None
    gap: float | None

    def as_fields(self) -> dict[str, Any]:
        """Return the certificate as JSON."""
        return {"evaluated": self.evaluated, "pruned": dict(self.pruned), "bound": self.bound, "gap": self.gap}


def certificate_from_fields(fields: Mapping[str, Any]) -> Certificate:
    """Return the certificate of ``as_fields``."""
    return Certificate(fields["evaluated"], dict(fields["pruned"]), fields["bound"], fields["gap"])
