"""Turn the profile into the cost table, the arrays that the planner sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mosaic_onnx.passes.state import State


@dataclass(frozen=True)
class Estimate:
    """Make the cost table of a profile."""

    name: ClassVar[str] = "estimate"
    requires: ClassVar[tuple[str, ...]] = ("profile",)
    ensures: ClassVar[tuple[str, ...]] = ("table",)

    def __call__(self, state: State) -> State:
        """Add the cost table."""
        from mosaic_onnx.core.cost_tables.cost_table import cost_table

        return replace(state, table=cost_table(state.profile))
