"""What a compilation is told, and a model made ready to be measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from mosaic_onnx.backends.base import Array
from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.layers import LayerGraph
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.loading.inputs import make_inputs, read_inputs
from mosaic_onnx.loading.model import OpenedModel, open_model
from mosaic_onnx.passes.layerize import Granularity, layerize
from mosaic_onnx.passes.normalise import Normalised, normalise
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.verification.precision.samples import read_samples

Note = Callable[[str], None]


def say_nothing(text: str) -> None:
    """The note of who wants none."""


@dataclass(frozen=True)
class Recipe:
    """What a compilation is told.

    Attributes:
        request: what the plan is best at, by which method.
        constraints: pins, forbids and caps.
        input_shapes: shapes of dynamic inputs, by name.
        inputs: a file of inputs; None makes them up from ``seed``.
        seed: of made-up inputs.
        granularity: what one layer is.
        fallback: deliver a single device where the plan is not faster (do no harm).
        cache: where measurements are kept; None measures everything anew.
        samples: a file of sample inputs, for a request with ``max_error``; None for ``inputs``, or drawn ones.
    """

    request: Request = field(default_factory=Request)
    constraints: Constraints = field(default_factory=Constraints)
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: Path | None = None
    seed: int = 0
    granularity: Granularity = "fused"
    fallback: bool = True
    cache: Cache | None = None
    samples: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """A model that can be measured.

    Attributes:
        opened: as the file has it.
        normalised: sorted, shapes concrete.
        graph: its layers.
        inputs: what it is run with.
    """

    opened: OpenedModel
    normalised: Normalised
    graph: LayerGraph
    inputs: Mapping[str, Array]

    @property
    def types(self) -> dict[str, onnx.TypeProto]:
        """Types of values, by name, as far as they are known."""
        graph = self.normalised.model.graph
        return {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs."""
        return tuple(value.name for value in self.normalised.model.graph.output)


def prepare(path: Path, recipe: Recipe, note: Note = say_nothing) -> Prepared:
    """Open, normalise and layerize a model; assumptions are said aloud through ``note``.

    Raises:
        ModelError: the file is refused.
        UsageError: the given shapes do not fit.
    """
    opened = open_model(path)
    normalised = normalise(opened, recipe.input_shapes)
    for text in (*normalised.defaults, *normalised.notes):
        note(text)
    model = normalised.model
    inputs = _inputs(model, recipe)
    return Prepared(opened, normalised, layerize(normalised, recipe.granularity), inputs)


def _inputs(model: onnx.ModelProto, recipe: Recipe) -> Mapping[str, Array]:
    """What the model is measured with: given inputs, else the first sample, else drawn ones."""
    if recipe.inputs is not None:
        return read_inputs(recipe.inputs, model)
    return make_inputs(model, recipe.seed) if recipe.samples is None else read_samples(recipe.samples, model)[0]
