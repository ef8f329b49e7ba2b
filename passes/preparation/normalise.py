"""Sort the model, fix its inputs' shapes, and find the type and shape of every value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mosaic_onnx.core.options import option
from mosaic_onnx.loading.shape_choices import ShapeChoices, only_combination
from mosaic_onnx.passes.state import State


@dataclass(frozen=True)
class Normalise:
    """Normalise with the given input shapes; the rest is guessed, and the user is told."""

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

    def __call__(self, state: State) -> State:
        """Add the normalised model; the opened one stays as it is.

        Raises:
            UsageError: a given shape does not fit the model.
            ModelError: a shape is impossible.
        """
        from mosaic_onnx.loading.normalise import normalise

        normalised = normalise(state.opened, only_combination(self.input_shapes))
        for text in (*normalised.defaults, *normalised.notes):
            state.note(text)
        return replace(state, normalised=normalised)
