"""The request to the planner, and the answer of a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.options import option
from mosaic_onnx.core.plans import Objective, Schedule


class MethodUnavailable(UsageError):
    """A planner method needs something that is not installed; ``auto`` goes on without it and says so."""


TOLERANCE = 1e-9
"""Relative: sums of the same seconds in another order are the same seconds."""


class PlacedSlice(NamedTuple):
    """One slice of a proposal: layers in the order in which it runs them, and the state that runs it."""

    layers: tuple[int, ...]
    state: int


Proposal = tuple[PlacedSlice, ...]
"""Slices in start order; together they hold every layer once."""


@dataclass(frozen=True)
class Request:
    """A request to the planner.

    Attributes:
        objective: what to make smallest; ``throughput`` means the smallest largest device load.
        schedule: one thing at a time, or devices side by side.
        method: a name in ``methods.METHODS``, or ``auto``.
        deadline_s: upper limit of the plan's seconds; None for none.
        budget_j: upper limit of the plan's joules; None for none.
        time_limit_s: how long a search may take that could go on.
        seed: of methods that draw by chance.
        one_slice_per_device: each device holds at most one slice.
        min_slice_count: at least so many slices, or as many as there are layers; 0 for any.
        max_slice_count: at most so many slices; None for any number.
        pareto: the whole front of seconds and joules is asked for.
        max_error: upper limit of the sum of the layers' errors; None for none.
        in_list_order: every slice holds neighbours of the table's list of layers, in its order, so that a segment can
            stand for it.
    """

    objective: Objective = option("latency", "What the plan is best at.", "--objective")
    schedule: Schedule = option("sequential", "Whether devices may work at once.", "--schedule")
    method: str = option("auto", "Planner method; auto picks (see docs).", "--method", metavar="NAME")
    deadline_s: float | None = option(
        None, "Latency that the plan must not exceed.", "--deadline-ms", metavar="MS", minimum=0, scale=1e-3
    )
    budget_j: float | None = option(
        None, "Energy (millijoules) not to exceed.", "--energy-mj", metavar="MJ", minimum=0, scale=1e-3
    )
    time_limit_s: float = option(10.0, "For solvers.", "--time-limit", metavar="SECONDS", minimum=0)
    seed: int = option(0, "Seed of inputs that are made up.", "--seed", minimum=0)
    one_slice_per_device: bool = option(
        False, "Throughput: each device holds one convex set of layers.", "--one-slice-per-device"
    )
    min_slice_count: int = option(
        0, "At least K slices (for tests; switches do-no-harm off).", "--min-slices", metavar="K", minimum=0
    )
    max_slice_count: int | None = option(None, "At most K slices.", "--max-slices", metavar="K", minimum=1)
    pareto: bool = False
    max_error: float | None = option(
        None,
        "Largest error of any output relative to its largest value (1e-2): lets devices of lower precision take part. "
        "plan: the sum of the layers' errors.",
        "--max-error",
        metavar="SHARE",
        minimum=0,
    )
    in_list_order: bool = False

    @property
    def needs_joules(self) -> bool:
        """Return whether the profile must have joules."""
        return self.objective in ("energy", "edp") or self.budget_j is not None or self.pareto

    def __post_init__(self) -> None:
        for name in ("deadline_s", "budget_j", "max_error"):
            limit = getattr(self, name)
            if limit is not None and not limit >= 0:
                raise UsageError(f"{name} is {limit}: it must be a number from 0 on")
        if not self.time_limit_s >= 0:
            raise UsageError(f"time_limit_s is {self.time_limit_s}: it must be a number from 0 on")
        if self.min_slice_count < 0:
            raise UsageError(f"min_slice_count is {self.min_slice_count}: it must be a number from 0 on")
        if self.max_slice_count is not None and self.max_slice_count < max(self.min_slice_count, 1):
            least = f", at least {self.min_slice_count} are asked for" if self.min_slice_count > 1 else ""
            raise UsageError(f"max_slice_count is {self.max_slice_count}{least}", "allow more slices (--max-slices)")


@dataclass(frozen=True)
class Answer:
    """The answer of a method.

    Attributes:
        proposals: candidates, the most promising first; the simulator picks. One that breaks a constraint is passed
            over, and of a method that took all its time only the first may be judged.
        bound: proved lower bound of the request's objective over all plans of its schedule under the constraints
            (seconds, joules or joule-seconds); None where the method proves none.
        bound_method: how the bound was proved, in words for the plan file.
        least_j: of a front: no plan that takes at most so many seconds draws fewer joules than what this returns.
        least_j_method: how that was proved.
    """

    proposals: tuple[Proposal, ...]
    bound: float | None = None
    bound_method: str = ""
    least_j: Callable[[float], float] | None = None
    least_j_method: str = ""


def within(value: float, limit: float | None) -> bool:
    """Return whether ``value`` keeps ``limit``, up to rounding; None is no limit."""
    return limit is None or value <= limit * (1 + TOLERANCE)
