"""The report of verification: by tensor, by slice, by output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mosaic_onnx.verification.differences import Difference

Verdict = Literal["equal", "within", "explained", "random", "failed"]
"""Bit-identical; within the tolerance; outside, but explained by rounding alone; not comparable; wrong."""


@dataclass(frozen=True)
class TensorCheck:
    """The check of one tensor against the reference.

    Attributes:
        tensor: its name.
        verdict: the verdict.
        difference: the difference from the reference.
        note: the reason for the verdict, where the difference does not show it.
    """

    tensor: str
    verdict: Verdict
    difference: Difference
    note: str = ""

    @property
    def is_good(self) -> bool:
        """Return whether the tensor does not contradict the plan's correctness."""
        return self.verdict != "failed"

    def __str__(self) -> str:
        return f"{self.tensor}: {self.difference}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class SliceCheck:
    """The checks of one slice, run on the reference's tensors.

    Attributes:
        slice: its index in the plan.
        device: the device that runs it.
        cut: its outputs computed by the reference's own runtime; they must be bit-identical.
        computed: its outputs computed by the device; they must be within the device's precision.
        providers: by execution provider, the number of nodes that it runs; None where the runtime cannot tell.
        misplaced: nodes that another provider than the device's runs.
        error: why it could not be checked; empty where it was.
        ranges: by output of floats, its least and its largest value, as the original model makes it.
    """

    slice: int
    device: str
    cut: tuple[TensorCheck, ...] = ()
    computed: tuple[TensorCheck, ...] = ()
    providers: Mapping[str, int] | None = None
    misplaced: tuple[str, ...] = ()
    error: str = ""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Return whether the slice is the right part of the model, computes right results, on the right provider."""
        return not (self.error or self.misplaced) and all(check.is_good for check in (*self.cut, *self.computed))

    @property
    def worst(self) -> TensorCheck | None:
        """Return the tensor whose device error is largest; None for a slice without comparable outputs."""
        comparable = [check for check in self.computed if check.verdict != "random"]
        return max(comparable, key=lambda check: (not check.is_good, check.difference.relative), default=None)

    @property
    def failures(self) -> tuple[str, ...]:
        """Return the faults, one sentence each."""
        found = [f"it could not be checked: {self.error}"] if self.error else []
        found += [f"the cut changes {check}" for check in self.cut if not check.is_good]
        found += [f"{self.device} computes {check}" for check in self.computed if not check.is_good]
        if self.misplaced:
            found.append(f"{len(self.misplaced)} nodes do not run on {self.device}: {', '.join(self.misplaced[:5])}")
        return tuple(f"slice {self.slice}: {text}" for text in found)


@dataclass(frozen=True)
class VerifyReport:
    """The report of a verification.

    Attributes:
        reference: the runtime that computed the reference.
        slices: each slice alone.
        outputs: the whole, end to end.
        notes: further remarks for the user.
        canonical: outputs of the partitioned file in ONNX Runtime; empty where there is none, or it does not load.
    """

    reference: str
    slices: tuple[SliceCheck, ...]
    outputs: tuple[TensorCheck, ...]
    notes: tuple[str, ...] = ()
    canonical: tuple[TensorCheck, ...] = ()

    @property
    def passed(self) -> bool:
        """Return whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """Return all faults, one sentence each."""
        slices = [text for check in self.slices for text in check.failures]
        outputs = [f"output {check}" for check in self.outputs if not check.is_good]
        file = [f"the partitioned file computes {check}" for check in self.canonical if not check.is_good]
        return (*slices, *outputs, *file)

    @property
    def explained(self) -> tuple[str, ...]:
        """Return the differences outside the tolerance that the plan does not cause, and the incomparable ones."""
        found = [
            f"slice {each.slice}: {check}"
            for each in self.slices
            for check in (*each.cut, *each.computed)
            if check.verdict in ("explained", "random")
        ]
        return (*found, *(f"output {check}" for check in self.outputs if check.verdict in ("explained", "random")))

    @property
    def worst(self) -> TensorCheck | None:
        """Return the output with the largest error; None where none can be compared."""
        comparable = [check for check in self.outputs if check.verdict != "random"]
        return max(comparable, key=lambda check: (not check.is_good, check.difference.relative), default=None)


def merged_reports(reports: Sequence[VerifyReport]) -> VerifyReport:
    """Return one report of several: of one model for several shapes of its inputs."""
    return VerifyReport(
        reference=reports[0].reference,
        slices=tuple(check for one in reports for check in one.slices),
        outputs=tuple(check for one in reports for check in one.outputs),
        notes=tuple(dict.fromkeys(text for one in reports for text in one.notes)),
        canonical=tuple(check for one in reports for check in one.canonical),
    )
