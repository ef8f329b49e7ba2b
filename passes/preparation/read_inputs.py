"""Choose what the model is run with: given inputs, else the first given sample, else drawn ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from mosaic_onnx.core.options import option
from mosaic_onnx.passes.state import State


@dataclass(frozen=True)
class ReadInputs:
    """Read or draw the inputs that everything is measured and proved with."""

    name: ClassVar[str] = "read_inputs"
    requires: ClassVar[tuple[str, ...]] = ("normalised",)
    ensures: ClassVar[tuple[str, ...]] = ("inputs", "seed")

    inputs: Path | None = option(None, "Inputs (.npz, or .npy for a single input).", "--inputs", metavar="FILE.npz")
    samples: Path | None = option(
        None,
        "Inputs that errors are measured on, stacked along the first axis. Default: --inputs, or drawn by seed.",
        "--samples",
        metavar="FILE.npz",
    )
    seed: int = option(0, "Seed of inputs that are made up.", "--seed", minimum=0)

    def __call__(self, state: State) -> State:
        """Add the inputs.

        Raises:
            InfeasibleError: the model takes or returns something else than a tensor.
            ModelError: a file is wrong, or its arrays are not the model's inputs.
        """
        from mosaic_onnx.loading.inputs import make_inputs, read_inputs, refuse_other_than_tensors
        from mosaic_onnx.verification.precision.samples import read_samples

        model = state.normalised.model
        refuse_other_than_tensors(model)
        if self.inputs is not None:
            inputs = read_inputs(self.inputs, model)
        elif self.samples is not None:
            inputs = read_samples(self.samples, model)[0]
        else:
            inputs = make_inputs(model, self.seed)
        return replace(state, inputs=inputs, seed=self.seed)
