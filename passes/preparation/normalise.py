"""Sort the model, fix its inputs' shapes, and find the type and shape of every value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from mosaic_onnx.core.options import option
from mosaic_onnx.loading.shape_choices import ShapeChoices, only_combination
from mosaic_onnx.passes.state import State


@dataclass(frozen=True)
class Normalise:
    """Normalise with the given input shapes; the rest is guessed, and the user is told.

    Attributes:
        input_shapes: shapes of dynamic inputs.
        inputs: a file of inputs, whose shapes count where none is given.
        shares_weights: move them into one file that every process maps; needless where no slice is loaded.
    """

    name: ClassVar[str] = "normalise"
    requires: ClassVar[tuple[str, ...]] = ("opened",)
    ensures: ClassVar[tuple[str, ...]] = ("normalised",)

    input_shapes: ShapeChoices = option(
        dict,
        "Shape of a dynamic input; compile takes several sizes of a dimension: {1,4,8} or {32..128..32}.",
        "--input-shape",
        metavar="NAME:1,3,224,224",
        words="shapes",
    )
    inputs: Path | None = None
    shares_weights: bool = True

    def __call__(self, state: State) -> State:
        """Add the normalised model; the opened one stays as it is.

        Raises:
            UsageError: a given shape does not fit the model.
            ModelError: a shape is impossible.
        """
        from mosaic_onnx.files.shared_weights import share_weights
        from mosaic_onnx.loading.inputs import read_arrays, shapes_of_free
        from mosaic_onnx.loading.normalise import normalise

        shapes = only_combination(self.input_shapes)
        if self.inputs is not None:
            shapes = {**shapes_of_free(read_arrays(self.inputs), state.opened.model), **shapes}
        normalised = normalise(state.opened, shapes, children=state.children)
        for text in (*normalised.defaults, *normalised.notes):
            state.note(text)
        shared = share_weights(normalised.model, normalised.folder) if self.shares_weights else None
        if shared is not None:
            normalised = replace(normalised, folder=str(shared.path), held=shared.folder, weight_digests=shared.digests)
        return replace(state, normalised=normalised)
