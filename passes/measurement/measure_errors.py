"""Measure what running each layer in lower precision adds to the error of the model's outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from mosaic_onnx.passes.state import State


@dataclass(frozen=True)
class MeasureErrors:
    """Gather samples and give the profile the error of every layer in every state.

    Attributes:
        samples: a file of sample inputs; None for ``inputs``, or drawn ones.
        inputs: where the model's inputs come from; None where they were drawn.
        time_limit_s: for all devices together.
    """

    name: ClassVar[str] = "measure_errors"
    requires: ClassVar[tuple[str, ...]] = ("selection", "opened", "normalised", "inputs", "graph", "profile")
    ensures: ClassVar[tuple[str, ...]] = ("profile", "samples")

    samples: Path | None = None
    inputs: Path | None = None
    time_limit_s: float = 24.0

    def __call__(self, state: State) -> State:
        """Replace the profile by one with errors, and add the samples.

        Raises:
            ModelError: the file of samples is wrong, or there is no reference for this model.
        """
        from mosaic_onnx.profiling.measure_errors import ErrorProfiler
        from mosaic_onnx.verification.precision.samples import gather_samples

        normalised, chosen = state.normalised, state.selection
        samples = gather_samples(
            normalised.model,
            normalised.folder,
            state.inputs,
            file=self.samples,
            inputs_file=self.inputs,
            seed=state.seed,
        )
        state.note(f"errors are measured on {len(samples.runs)} samples: {samples.origin}")
        profiler = ErrorProfiler(
            chosen.chosen,
            chosen.backends,
            samples,
            state.cache,
            chosen.versions,
            state.opened.sha256,
            self.time_limit_s,
        )
        profile = profiler(normalised, state.graph, state.profile, state.progress)
        return replace(state, profile=profile, samples=samples)
