"""Everything that the page shows, as values; nothing here knows how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mosaic_onnx.analysis.explain import LayerExplanation, PlanExplanation, proposal_of
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.plans import Plan
from mosaic_onnx.core.profiles import Profile
from mosaic_onnx.planner.core.request import Proposal
from mosaic_onnx.runtime.trace import Trace


@dataclass(frozen=True)
class Measured:
    """The interleaved measurement of a bundle's candidates, as its manifest tells it.

    Attributes:
        delivered: name of the candidate that was delivered.
        reason: why, in one sentence.
        median_s: by candidate.
        spread: by candidate, half the distance between the quartiles, relative to the median.
    """

    delivered: str
    reason: str
    median_s: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportContent:
    """The content of a page.

    Attributes:
        profile: what the plan was made from, under its constraints.
        plan: the plan.
        layers: [L] the explanation of each layer.
        explanation: boundaries, and the operators that devices lack.
        singles: the predicted plans of devices that run the whole model alone, by name.
        front: plans that no other beats in both latency and energy; empty where the profile has no joules.
        measured: None where nothing was measured.
        trace: one measured run; None where there is none.
        notes: what was left out of the page, and why.
    """

    profile: Profile
    plan: Plan
    layers: tuple[LayerExplanation, ...]
    explanation: PlanExplanation
    singles: Mapping[str, Plan] = field(default_factory=dict)
    front: tuple[Plan, ...] = ()
    measured: Measured | None = None
    trace: Trace | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def proposal(self) -> Proposal:
        """Return the plan's slices with their states as numbers."""
        return proposal_of(self.profile, self.plan)

    @cached_property
    def table(self) -> CostTable:
        """Return the profile's costs as arrays."""
        return cost_table(self.profile)

    @property
    def device_names(self) -> tuple[str, ...]:
        """Return the names of the profile's devices, in its order."""
        return tuple(device.name for device in self.profile.devices)

    @property
    def simulated(self) -> tuple[str, ...]:
        """Return the names of the simulated devices."""
        return tuple(one.name for one in self.profile.devices if one.simulated)
