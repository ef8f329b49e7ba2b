"""Restrict the profile to what the user allows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.passes.state import State


@dataclass(frozen=True)
class Constrain:
    """Put pins, forbids and memory caps into the profile.

    Attributes:
        constraints: what the user demands.
    """

    name: ClassVar[str] = "constrain"
    requires: ClassVar[tuple[str, ...]] = ("profile",)
    ensures: ClassVar[tuple[str, ...]] = ("profile", "constraints")

    constraints: Constraints = field(default_factory=Constraints)

    def __call__(self, state: State) -> State:
        """Replace the profile by the restricted one.

        Raises:
            UsageError: a constraint names no device or layer of the profile.
            InfeasibleError: some layers cannot run anywhere now; the message names a smallest such set and why.
        """
        from mosaic_onnx.core.cost_tables.constrain import constrain

        return replace(state, profile=constrain(state.profile, self.constraints), constraints=self.constraints)
