"""Constraints that the user adds to a plan: pins, forbids and caps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mosaic_onnx.core.options import option

Rule = tuple[str, str]
"""(regular expression, device name)"""


@dataclass(frozen=True)
class Constraints:
    """Constraints of the user on a plan, beyond those in the profile.

    A rule's regular expression is searched in the layer's name and in the names of its nodes (``^conv1$`` for exactly
    one).

    Attributes:
        pins: layers that match run on that device; one layer's pins must name one device.
        forbids: layers that match do not run on that device.
        memory_bytes: by device, takes the place of its ``memory_bytes``.
        slice_memory_bytes: by device, takes the place of its ``slice_memory_bytes``.
        max_slice_counts: by device, takes the place of its ``max_slice_count``.
        quantile: plan for this quantile of every layer's seconds instead of their usual value (see ``at_quantile``).
    """

    pins: tuple[Rule, ...] = option(
        (), "Layers whose name or node matches run there, nowhere else.", "--pin", metavar="REGEX=DEVICE", words="rules"
    )
    forbids: tuple[Rule, ...] = option(
        (), "Matching layers never run there.", "--forbid", metavar="REGEX=DEVICE", words="rules"
    )
    memory_bytes: Mapping[str, int] = option(
        dict, "Cap on all slices of a device.", "--memory", metavar="DEVICE=AMOUNT", words="caps"
    )
    slice_memory_bytes: Mapping[str, int] = option(
        dict, "Cap on each slice of a device.", "--slice-memory", metavar="DEVICE=AMOUNT", words="caps"
    )

    max_slice_counts: Mapping[str, int] = option(
        dict, "At most K slices on a device.", "--max-slices-on", metavar="DEVICE=K", words="counts"
    )
    quantile: float | None = option(
        None, "Plan for this quantile of each layer's time (profile: seconds_std).", "--quantile", metavar="0.9"
    )

    def as_fields(self) -> dict[str, object]:
        """Return the constraints that are set, as the plan file's ``constraints`` object."""
        fields: dict[str, object] = {
            "pins": [list(rule) for rule in self.pins],
            "forbids": [list(rule) for rule in self.forbids],
            "memory_bytes": dict(self.memory_bytes),
            "slice_memory_bytes": dict(self.slice_memory_bytes),
            "max_slice_counts": dict(self.max_slice_counts),
            "quantile": self.quantile,
        }
        return {key: value for key, value in fields.items() if value}
