"""Make the frequencies of real devices their levels, where that is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mosaic_onnx.core.options import option
from mosaic_onnx.passes.state import State


@dataclass(frozen=True)
class SetLevels:
    """Give real devices their frequencies as levels, so that the plan chooses one for each slice.

    Attributes:
        levels: whether to; without it each device runs at the frequency that its governor picks.
    """

    name: ClassVar[str] = "set_levels"
    requires: ClassVar[tuple[str, ...]] = ("selection",)
    ensures: ClassVar[tuple[str, ...]] = ("selection",)

    levels: bool = option(
        default=False,
        help="Measure real devices at their frequencies and let the plan set one for each slice (needs permission).",
        flag="--levels",
    )

    def __call__(self, state: State) -> State:
        """Replace the devices that take part; a device without levels is told with the reason."""
        if not self.levels:
            return state
        from mosaic_onnx.discovery.levels import with_levels

        selection, reasons = with_levels(state.selection)
        for name, reason in reasons.items():
            state.note(f"{name} is measured at the frequency that its governor picks: {reason}")
        return replace(state, selection=selection)
