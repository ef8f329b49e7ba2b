"""Measure chosen slices whole: a sum of layers is not what a slice takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from mosaic_onnx.passes.state import State

if TYPE_CHECKING:
    from mosaic_onnx.profiling.device_profiler import ProfilingEffort


@dataclass(frozen=True)
class MeasureSlices:
    """Measure the slices that are wanted, each once, with the cache of the profile.

    Attributes:
        effort: how much time to spend; None for the usual.
    """

    name: ClassVar[str] = "measure_slices"
    requires: ClassVar[tuple[str, ...]] = ("selection", "opened", "normalised", "inputs", "graph", "wanted")
    ensures: ClassVar[tuple[str, ...]] = ("measured",)

    effort: ProfilingEffort | None = None

    def __call__(self, state: State) -> State:
        """Add what the wanted slices take, and why others must not be delivered.

        Raises:
            UsageError: a state is none of the devices', or a slice lies outside the model.
        """
        from mosaic_onnx.profiling.measure_slices import measure_segments

        chosen = state.selection
        options = state.measuring(self.effort)
        measured = measure_segments(
            state.normalised, state.graph, state.wanted, chosen.chosen, chosen.backends, options, state.progress
        )
        return replace(state, measured=measured)
