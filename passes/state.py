"""The pipeline's state: one frozen value that every pass reads and adds to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mosaic_onnx.core.constraints import Constraints
from mosaic_onnx.core.errors import InternalError
from mosaic_onnx.core.progress import say_nothing
from mosaic_onnx.loading.children import Children
from mosaic_onnx.planning.planning_time import PlanningTime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mosaic_onnx.backends.base import Array
    from mosaic_onnx.core.cost_tables.costs import CostTable
    from mosaic_onnx.core.layers import LayerGraph
    from mosaic_onnx.core.plans import Plan
    from mosaic_onnx.core.profiles import Profile
    from mosaic_onnx.core.progress import Progress
    from mosaic_onnx.discovery.selection import Selection
    from mosaic_onnx.files.cache import Cache
    from mosaic_onnx.loading.model import OpenedModel
    from mosaic_onnx.loading.normalise import Normalised
    from mosaic_onnx.planning.accuracy_budget import Kept
    from mosaic_onnx.planning.candidates import Candidate
    from mosaic_onnx.planning.contest import Contest
    from mosaic_onnx.planning.error_judging import Judged
    from mosaic_onnx.planning.slice_cutter import SliceCutter
    from mosaic_onnx.profiling.annotation import Annotation
    from mosaic_onnx.profiling.device_profiler import ProfilingEffort
    from mosaic_onnx.profiling.measure_slices import Choice, SegmentsMeasured
    from mosaic_onnx.profiling.setup import ProfileOptions
    from mosaic_onnx.verification.precision.report import Precision
    from mosaic_onnx.verification.precision.samples import Samples
    from mosaic_onnx.verification.report import VerifyReport


class Absent:
    """Stands in a field that no pass has made yet; whoever reads it is told so."""

    def __getattr__(self, name: str) -> Any:
        raise InternalError("a pass reads a field of the state that no pass before it made: name it in `requires`")

    def __bool__(self) -> bool:
        raise InternalError("a pass reads a field of the state that no pass before it made: name it in `requires`")

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Any = Absent()
"""The value of a field until a pass makes it; from then on it has its type."""


def is_made(value: object) -> bool:
    """Return whether a field of a state holds something."""
    return not isinstance(value, Absent)


@dataclass(frozen=True, eq=False)
class State:
    """The work so far.

    Given before the first pass:

    Attributes:
        path: the model's file, or the bundle's folder.
        selection: devices that take part, and their backends.
        cache: where measurements are kept; None measures everything anew.
        note: told what was assumed, and what the user should hear.
        progress: told at the begin of each pass, and after each measurement; None for nobody.
        planning: told what plans take, all of a compilation together.
        children: child processes in which untrusted files are checked and loaded.

        opened: the model as its file has it (``load``).
        normalised: the model sorted, its shapes concrete (``normalise``).
        inputs: what the model is run with, by name (``read_inputs``).
        seed: of whatever is made up (``read_inputs``).
        graph: the layers (``layerize``).
        annotation: which device can run which layer, and why not (``annotate``).
        profile: what layers, slices and transfers cost (``profile``; later passes learn and restrict).
        constraints: what the user demands of the plan (``constrain``).
        samples: inputs that errors are measured on (``measure_errors``).
        table: the profile as arrays (``estimate``).
        plan: what the planner chose (``plan``).
        alternatives: other plans that may answer more requests a second, the most promising first (``plan``).
        wanted: slices to measure whole: first layer, last layer, state.
        measured: what came of that (``measure_slices``).
        slice_seconds: [slice] seconds of the plan's slices while the whole plan ran; empty where that says nothing
            (``time_plan``).
        cutter: cuts the normalised model into slices, indexed once for several plans.
        kept: the search for a plan that keeps the budget of errors (``keep_budget``).
        candidates: what could be delivered: the plan, and each device that runs the whole model (``rewrite``).
        judged: the candidates' errors, measured end to end (``judge_errors``).
        refused: candidates that may not be delivered, by name, with the reason.
        contest: how the candidates did against each other (``select``).
        delivered: the winner (``select``).
        budget: largest relative error that an output may have; None for none.
        proof: that what is delivered computes what the model computes (``verify``).
        precision: what is said of the delivered plan's errors; None without a budget (``report_precision``).
    """

    path: Path = ABSENT
    selection: Selection = ABSENT
    cache: Cache | None = None
    note: Callable[[str], None] = say_nothing
    progress: Progress | None = None
    planning: PlanningTime = field(default_factory=PlanningTime)
    children: Children = field(default_factory=Children)

    opened: OpenedModel = ABSENT
    normalised: Normalised = ABSENT
    inputs: Mapping[str, Array] = ABSENT
    seed: int = 0
    graph: LayerGraph = ABSENT
    annotation: Annotation = ABSENT
    profile: Profile = ABSENT
    constraints: Constraints = field(default_factory=Constraints)
    samples: Samples = ABSENT
    table: CostTable = ABSENT
    plan: Plan = ABSENT
    alternatives: tuple[Plan, ...] = ()
    wanted: tuple[Choice, ...] = ()
    measured: SegmentsMeasured = ABSENT
    slice_seconds: tuple[float, ...] = ()
    cutter: SliceCutter = ABSENT
    kept: Kept = ABSENT
    candidates: tuple[Candidate, ...] = ABSENT
    judged: Judged = ABSENT
    refused: Mapping[str, str] = field(default_factory=dict)
    contest: Contest = ABSENT
    delivered: Candidate = ABSENT
    budget: float | None = None
    proof: VerifyReport = ABSENT
    precision: Precision | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the model's outputs."""
        return tuple(value.name for value in self.normalised.model.graph.output)

    def with_cutter(self, effort: ProfilingEffort | None = None) -> State:
        """Return the state with what cuts the normalised model, made on first need.

        Args:
            effort: how long a runtime's levels of optimisation are compared; None for the usual.
        """
        if is_made(self.cutter):
            return self
        from mosaic_onnx.planning.slice_cutter import SliceCutter

        cutter = SliceCutter(self.normalised, self.graph, self.selection, self.measuring(effort))
        return replace(self, cutter=cutter)

    def measuring(self, effort: ProfilingEffort | None = None) -> ProfileOptions:
        """Return how this model is measured: its identity, its inputs, the cache, how long (None for the usual)."""
        from mosaic_onnx.profiling.device_profiler import ProfilingEffort
        from mosaic_onnx.profiling.setup import ProfileOptions

        return ProfileOptions(
            effort=effort or ProfilingEffort(),
            model_name=self.opened.path.name,
            model_sha256=self.opened.sha256,
            inputs=self.inputs,
            seed=self.seed,
            cache=self.cache,
            versions=self.selection.versions,
        )
