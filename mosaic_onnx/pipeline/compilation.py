"""A compilation: the pipeline run from a model file to slices that are measured and proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.discovery.selection import Selection
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.loading.shape_choices import combinations
from mosaic_onnx.passes.base import Passes, run_passes
from mosaic_onnx.passes.state import State, say_nothing
from mosaic_onnx.pipeline.options import CompileOptions, compile_passes
from mosaic_onnx.planning.candidates import PLAN
from mosaic_onnx.profiling.progress import Progress

Note = Callable[[str], None]


@dataclass(frozen=True)
class Compilation:
    """What a compilation found; nothing is written yet.

    Attributes:
        state: after the last pass.
        passes: those that ran, with their options.
        shapes: the same model for further shapes of its inputs.
    """

    state: State
    passes: Passes
    shapes: tuple[Compilation, ...] = ()

    @property
    def plan(self) -> Plan:
        """The plan that is delivered."""
        return self.state.delivered.plan

    @property
    def slices(self) -> tuple[SliceModel, ...]:
        """Its slices, in its order."""
        return self.state.delivered.slices

    @property
    def tuned(self) -> tuple[SliceModel, ...]:
        """The same as they run best on this machine."""
        return self.state.delivered.tuned

    @property
    def single_predicted(self) -> dict[str, float]:
        """Seconds by device that can run the whole model, as the simulator predicts them."""
        return {one.name: one.plan.predicted.seconds for one in self.state.candidates if one.name != PLAN}


def compile_model(
    path: Path,
    selection: Selection,
    cache: Cache | None = None,
    note: Note = say_nothing,
    progress: Progress | None = None,
    **options: Unpack[CompileOptions],
) -> Compilation:
    """Plan, measure and prove a model, for each of the shapes asked for; write nothing.

    Args:
        path: the model's file.
        selection: devices that take part.
        cache: where measurements are kept; None measures everything anew.
        note: told what was assumed.
        progress: told how far the measuring has come.
        **options: see ``CompileOptions``.

    Raises:
        ModelError: the model is refused.
        InfeasibleError: no plan satisfies the constraints.
        BackendError: a device failed.
    """
    asked = combinations(options.get("input_shapes", {}))
    if len(asked) > 1:
        _refuse_for_many_shapes(options)
    made = []
    for shapes in asked:
        passes = compile_passes({**options, "input_shapes": shapes})
        if len(asked) > 1:
            note(f"compiling for {shapes_text(shapes)}")
        made.append(Compilation(run_passes(passes, State(path, selection, cache, note, progress)), passes))
    return replace(made[0], shapes=tuple(made[1:]))


def shapes_text(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return shapes as the command line takes them."""
    return " ".join(f"{name}:{','.join(map(str, shape))}" for name, shape in shapes.items())


def _refuse_for_many_shapes(options: Mapping[str, object]) -> None:
    """Refuse options that fit one set of shapes only.

    Raises:
        UsageError: one is given.
    """
    for name in ("inputs", "samples", "given_profile", "given_plan"):
        if options.get(name) is not None:
            raise UsageError(f"{name} fits one set of input shapes, and --input-shape asks for several", "leave it out")
