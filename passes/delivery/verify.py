"""Prove that what is delivered computes what the model computes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from mosaic_onnx.passes.state import State, is_made

if TYPE_CHECKING:
    from mosaic_onnx.core.plans import Plan
    from mosaic_onnx.planning.candidates import Candidate
    from mosaic_onnx.rewriting.rewrite import Canonical
    from mosaic_onnx.verification.verify import Progress

REWRITTEN = "a pass from outside rewrote the model; everything is compared with the model as it left it"


@dataclass(frozen=True)
class Verify:
    """Compare slices, the whole, and the partitioned file with the uncut, unoptimised model.

    Attributes:
        tolerance: largest error relative to an output's largest value; None: by the devices' precisions.
        progress: told after every slice.
    """

    name: ClassVar[str] = "verify"
    requires: ClassVar[tuple[str, ...]] = ("selection", "normalised", "inputs", "delivered", "budget")
    ensures: ClassVar[tuple[str, ...]] = ("proof",)

    tolerance: float | None = None
    progress: Progress | None = None

    def __call__(self, state: State) -> State:
        """Add the proof; whoever delivers refuses one that failed.

        Raises:
            ModelError: there is no reference for this model.
            BackendError: the reference cannot run on these inputs, or a slice cannot be loaded.
        """
        from mosaic_onnx.verification.report import merged_reports
        from mosaic_onnx.verification.verify import Verifier, verify_plan

        delivered, normalised = state.delivered, state.normalised
        reports = [
            verify_plan(
                Verifier(self.tolerance, self.progress, state.budget),
                normalised.model,
                normalised.folder,
                plan,
                delivered.slices,
                delivered.tuned if delivered.is_tuned else None,
                {**state.selection.by_name, **delivered.devices},
                state.selection.backends,
                state.inputs,
                canonical,
            )
            for plan, canonical in _copies(delivered)
        ]
        proof = reports[0] if len(reports) == 1 else merged_reports(reports)
        if is_made(state.opened) and state.opened.is_rewritten:
            proof = replace(proof, notes=(*proof.notes, REWRITTEN))
        return replace(state, proof=proof)


def _copies(delivered: Candidate) -> list[tuple[Plan, Canonical | None]]:
    """Return the plan with its partitioned file, and the plan on the devices of each replica."""
    plan = delivered.plan
    return [(plan, delivered.canonical), *((plan.on(state), None) for state in plan.replicas)]
