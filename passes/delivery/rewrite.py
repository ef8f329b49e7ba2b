"""Rewrite the model to the plan, and to every single device that could run it whole."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from mosaic_onnx.passes.base import Pass, run_pass
from mosaic_onnx.passes.measurement.measure_slices import MeasureSlices
from mosaic_onnx.passes.state import State


@dataclass(frozen=True)
class Rewrite:
    """Make what could be delivered: slices, portable and tuned, and the partitioned model.

    Each is cut when it is first asked for: it copies the model, and not every candidate runs.

    Attributes:
        measure: finds out whether a device that runs every layer runs the whole.
        with_singles: single devices are candidates too.
    """

    name: ClassVar[str] = "rewrite"
    requires: ClassVar[tuple[str, ...]] = (
        "selection",
        "opened",
        "normalised",
        "inputs",
        "graph",
        "profile",
        "table",
        "plan",
    )
    ensures: ClassVar[tuple[str, ...]] = ("candidates", "cutter")

    measure: Pass = field(default_factory=MeasureSlices)
    with_singles: bool = True

    def __call__(self, state: State) -> State:
        """Add the candidates."""
        from mosaic_onnx.planning.candidates import PLAN, Candidate, single_device_plans, yardsticks
        from mosaic_onnx.rewriting.rewrite import canonical_model

        state = state.with_cutter()
        singles = single_device_plans(
            state.profile,
            state.plan,
            [device.name for device in state.profile.devices if self.with_singles],
            state.table,
            lambda wanted: run_pass(self.measure, replace(state, wanted=wanted)).measured,
            state.note,
        )
        others = state.alternatives if self.with_singles else ()
        alternatives = {f"alternative {number + 1}": plan for number, plan in enumerate(others)}
        candidates = tuple(
            Candidate(
                name,
                plan,
                cut=lambda plan: state.cutter(state.profile, plan),
                partition=lambda plan: canonical_model(
                    state.opened, state.normalised, state.profile, plan, children=state.children
                ),
            )
            for name, plan in {PLAN: state.plan, **alternatives, **singles}.items()
        )
        if state.plan.objective == "latency" and self.with_singles:
            candidates = (*candidates, *yardsticks(candidates[1:], state.selection))
        return replace(state, candidates=candidates)
