"""Measure what each layer costs on each device, and what copying between host and devices costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from mosaic_onnx.passes.state import State

if TYPE_CHECKING:
    from mosaic_onnx.profiling.device_profiler import ProfilingEffort


@dataclass(frozen=True)
class Profile:
    """Measure devices that are here; ask those whose backend states its costs.

    Attributes:
        effort: how much time to spend; None for the usual.
        limit_s: how long one slice may take in a child process.
    """

    name: ClassVar[str] = "profile"
    requires: ClassVar[tuple[str, ...]] = ("selection", "opened", "normalised", "inputs", "graph", "annotation")
    ensures: ClassVar[tuple[str, ...]] = ("profile",)

    effort: ProfilingEffort | None = None
    limit_s: float = 120.0

    def __call__(self, state: State) -> State:
        """Add the profile.

        Raises:
            BackendError: a device failed.
            ProfilingInterrupted: Ctrl-C; it holds what was measured until then.
        """
        from mosaic_onnx.profiling.profile_model import profile_model

        options = replace(state.measuring, limit_s=self.limit_s)
        if self.effort is not None:
            options = replace(options, effort=self.effort)
        profile = profile_model(
            state.normalised,
            state.graph,
            state.selection.chosen,
            state.selection.backends,
            options,
            state.progress,
            annotation=state.annotation,
        )
        return replace(state, profile=profile)
