"""A compilation: the pipeline run from a model file to slices that are measured and proved."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from typing_extensions import Unpack

from mosaic_onnx.backends.base import SliceModel
from mosaic_onnx.core.errors import DeviceError, MosaicError, UsageError
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.progress import Note, say_nothing
from mosaic_onnx.discovery.selection import Selection, without_devices
from mosaic_onnx.files.cache import Cache
from mosaic_onnx.loading.children import Children
from mosaic_onnx.loading.shape_choices import combinations
from mosaic_onnx.passes.base import Passes, run_passes
from mosaic_onnx.passes.state import State
from mosaic_onnx.pipeline.options import CompileOptions, compile_passes
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planning.candidates import PLAN
from mosaic_onnx.planning.planning_time import PlanningTime
from mosaic_onnx.profiling.progress import Progress
from mosaic_onnx.profiling.whole_plans.plans_to_run import Machine


@dataclass(frozen=True)
class Compilation:
    """The result of a compilation; nothing is written yet.

    Attributes:
        state: after the last pass.
        passes: those that ran, with their options.
        outside: names under which installed packages offered some of them.
        shapes: the same model for further shapes of its inputs.
    """

    state: State
    passes: Passes
    outside: tuple[str, ...] = ()
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
    def single_plans(self) -> dict[str, Plan]:
        """Plans by device that can run the whole model, and by runtime's default."""
        return {one.name: one.plan for one in self.state.candidates if one.name != PLAN}

    @property
    def single_predicted(self) -> dict[str, float]:
        """Seconds of those, as the simulator predicts them."""
        return {name: plan.predicted.seconds for name, plan in self.single_plans.items()}


def compile_model(
    path: Path,
    selection: Selection,
    cache: Cache | None = None,
    note: Note = say_nothing,
    progress: Progress | None = None,
    children: Children | None = None,
    **options: Unpack[CompileOptions],
) -> Compilation:
    """Plan, measure and prove a model, for each of the shapes asked for; write nothing.

    A device that fails when plans run, or computes something else in the proof than it did while it was measured, is
    left out, and the others go on without it: what was measured is kept, so that only planning is done again.

    Args:
        path: the model's file.
        selection: devices that take part.
        cache: where measurements are kept; None measures everything anew.
        note: told what was assumed.
        progress: told how far the measuring has come.
        children: child processes in which untrusted files are checked; None for own ones.
        **options: see ``CompileOptions``.

    Raises:
        ModelError: the model is refused.
        InfeasibleError: no plan satisfies the constraints.
        BackendError: a device failed.
    """
    if _is_uncut(selection, options):
        name = selection.chosen[0].name
        note(f"one device takes part: there is nothing to partition; {name} is measured against its runtime's default")
    asked = combinations(options.get("input_shapes", {}))
    if len(asked) > 1:
        _refuse_for_many_shapes(options)
    made = []
    machine = Machine(selection.by_name, selection.backends)
    # The child that runs plans imports runtimes while the model is read; a given plan is not run against others.
    running = nullcontext() if options.get("given_plan") else machine.with_child()
    with running, nullcontext(children) if children else Children(ahead=True) as checking:
        start = State(path, selection, cache, note, progress, children=checking)
        for shapes in asked:
            if len(asked) > 1:
                note(f"compiling for {shapes_text(shapes)}")
            one: CompileOptions = {**options, "input_shapes": shapes}
            made.append(_compile_for_shapes(start, one))
    return replace(made[0], shapes=tuple(made[1:]))


def shapes_text(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return shapes as the command line takes them."""
    return " ".join(f"{name}:{','.join(map(str, shape))}" for name, shape in shapes.items())


def _is_uncut(selection: Selection, options: CompileOptions) -> bool:
    """Return whether the only answer is the whole model on one device."""
    if len(selection.chosen) != 1 or selection.chosen[0].simulated or options.get("levels"):
        return False
    request = options.get("request")
    is_demanding = request is not None and (request.min_slice_count > 1 or request.max_error is not None)
    return not (is_demanding or options.get("given_plan") or selection.chosen[0].levels)


def _refuse_for_many_shapes(options: Mapping[str, object]) -> None:
    """Refuse options that fit one set of shapes only.

    Raises:
        UsageError: one is given.
    """
    for name in ("inputs", "samples", "given_profile", "given_plan"):
        if options.get(name) is not None:
            raise UsageError(f"{name} fits one set of input shapes, and --input-shape asks for several", "leave it out")


def _compile_for_shapes(start: State, options: CompileOptions) -> Compilation:
    """Compile for one set of shapes, from a state before the first pass."""
    selection = start.selection
    is_uncut = _is_uncut(selection, options)
    passes = asked = compile_passes(options, is_uncut=is_uncut)
    planning = PlanningTime()
    outside = tuple(one for one in options.get("passes", ()) if isinstance(one, str))
    first: MosaicError | None = None
    while True:
        try:
            state = run_passes(passes, replace(start, selection=selection, planning=planning))
            failed = _failed_in_proof(state)
        except DeviceError as error:
            failed = {error.device: error.message}
            first = first or error
        except MosaicError as error:
            raise first or error from None
        if not failed:
            return Compilation(state, asked, outside)
        remaining = without_devices(selection, failed)
        if remaining is None and first is not None:
            raise first
        if remaining is None:  # the proof failed, and no other device is left: the caller is told by the proof
            return Compilation(state, asked, outside)
        for device, reason in failed.items():
            start.note(f"{device} is left out: {reason}")
        selection = remaining
        passes = compile_passes(_in_time_left(options, planning), is_uncut=is_uncut)


def _in_time_left(options: CompileOptions, planning: PlanningTime) -> CompileOptions:
    """Return options whose request may take what the plans so far have left of its time limit."""
    request = options.get("request", Request())
    left_s = max(0.0, request.time_limit_s - planning.spent_s)
    return {**options, "request": replace(request, time_limit_s=left_s)}


def _failed_in_proof(state: State) -> dict[str, str]:
    """Return, by device whose slices were not right in the proof, what was wrong."""
    bad = [
        check
        for check in state.proof.slices
        if check.error or check.misplaced or not all(tensor.is_good for tensor in check.computed)
    ]
    return {check.device: f"slice {check.slice} is not right: {check.error or check.worst}" for check in bad}
