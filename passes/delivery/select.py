"""Do no harm: run the plan against every single device, and deliver the fastest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from mosaic_onnx.core.options import option
from mosaic_onnx.passes.state import State

if TYPE_CHECKING:
    from mosaic_onnx.planning.contest import Effort


@dataclass(frozen=True)
class Select:
    """Choose among the candidates by measuring them in turn, or by prediction where no clock says anything.

    Attributes:
        fallback: deliver a single device where the plan is not faster.
        min_slice_count: where so many slices were asked for, the plan is delivered whatever is measured.
        effort: how long to measure; None for the usual.
    """

    name: ClassVar[str] = "select"
    requires: ClassVar[tuple[str, ...]] = ("selection", "normalised", "inputs", "candidates", "refused")
    ensures: ClassVar[tuple[str, ...]] = ("contest", "delivered")

    fallback: bool = option(True, "Deliver the plan even if a single device measures faster.", "--no-fallback")
    min_slice_count: int = 0
    effort: Effort | None = None

    def __call__(self, state: State) -> State:
        """Add the contest and its winner.

        Raises:
            BackendError: no candidate runs.
        """
        from mosaic_onnx.planning.choose import choose

        refusal = self._why_no_fallback()
        if refusal:
            state.note(f"do-no-harm is off: {refusal}")
        allowed = [one for one in state.candidates if one.name not in state.refused]
        judged = choose(allowed, state.selection, state.inputs, state.outputs, self.effort, state.refused, refusal)
        delivered = next(one for one in state.candidates if one.name == judged.winner)
        return replace(state, contest=judged, delivered=delivered)

    def _why_no_fallback(self) -> str:
        """Return why the plan is delivered whatever is measured; empty where it is not."""
        if self.min_slice_count:
            return f"at least {self.min_slice_count} slices were asked for"
        return "" if self.fallback else "--no-fallback"
