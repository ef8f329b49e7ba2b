"""Find what makes a refused request feasible: each limit, cap or demand that alone is in the way, and what is enough.

Each is left out in turn, and a plan is looked for: what that plan takes is enough, though less may be.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Protocol

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable
from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.planner.core.memory import device_bytes, largest_slice_bytes
from mosaic_onnx.planner.core.request import Proposal, Request
from mosaic_onnx.planner.core.request_constraints import error_sum
from mosaic_onnx.planner.core.simulate import Timeline
from mosaic_onnx.planner.error_budget import errors_as_joules
from mosaic_onnx.planner.exhaustive.method import exhaustive_fits

SHARE, ALL = 0.1, 0.2
"""Of the time limit, what one search may take, and all together: so much longer a refusal takes."""
LEAST_S = 0.5
"""The least time of one search."""
GROWTHS = (1.1, 1.5, 3.0, float("inf"))
"""Factors by which the cap of one device is tried."""
HALVINGS, TO_THE_BYTE = 3, 64
"""Number of times that the span between a cap that is too low and one that is enough is halved; the second for tables
that are searched whole, where a cap that is refused is known to be too low."""
NAMED = 3
"""Number of relaxations that a hint names."""


class Solved(Protocol):
    """A plan that was found."""

    @property
    def proposal(self) -> Proposal:
        """Return the plan's slices."""

    @property
    def timeline(self) -> Timeline:
        """Return the simulator's figures."""


Solve = Callable[[CostTable, Request], Solved]
"""Finds a plan; raises ``InfeasibleError`` where it finds none."""


def with_hints(table: CostTable, request: Request, error: InfeasibleError, solve: Solve) -> InfeasibleError:
    """Return the error with a hint that says which limit or cap may be relaxed, and how far, for a plan to exist.

    Args:
        table: costs, with their caps.
        request: what was asked.
        error: the refusal.
        solve: finds plans.
    """
    until = time.monotonic() + max(ALL * request.time_limit_s, LEAST_S)
    found = list(islice(_Relaxing(table, request, until, solve).enough(), NAMED))
    if not found:
        return error
    advice = f"enough on its own: {' or '.join(found)}"
    return type(error)(error.message, f"{error.hint}; {advice}" if error.hint else advice)


class _Relaxing:
    """Looks for plans with one thing left out."""

    def __init__(self, table: CostTable, request: Request, until: float, solve: Solve) -> None:
        self.table, self.request, self.until, self.solve = table, request, until, solve

    def enough(self) -> Iterator[str]:
        """Yield what is enough on its own, as options of the command line."""
        table, request = self.table, self.request
        if request.deadline_s is not None:
            found = self._plan(table, replace(request, deadline_s=None, objective="latency"))
            if found is not None:
                yield f"--deadline-ms {_rounded_up(1e3 * found.timeline.seconds)}"
        if request.budget_j is not None:
            found = self._plan(table, replace(request, budget_j=None, objective="energy"))
            if found is not None:
                yield f"--energy-mj {_rounded_up(1e3 * (found.timeline.joules or 0.0))}"
        if request.max_error is not None and request.budget_j is None:
            exact = replace(request, max_error=None, objective="energy")
            found = self._plan(errors_as_joules(table), exact)
            if found is not None:
                yield f"--max-error {_rounded_up(error_sum(table, found.proposal))}"
        for change, words in (
            ({"one_slice_per_device": False}, "leaving out --one-slice-per-device"),
            ({"min_slice_count": 0}, "leaving out --min-slices"),
            ({"max_slice_count": None}, "leaving out --max-slices"),
            ({"in_list_order": False}, "leaving out the demand that slices hold neighbours in list order"),
        ):
            relaxed = replace(request, **change)
            if relaxed != request and self._plan(table, relaxed) is not None:
                yield words
        yield from self._enough_memory()
        if (table.group >= 0).any():
            ungrouped = replace(table, group=np.full_like(table.group, -1))
            if self._plan(ungrouped, request) is not None:
                yield "parting a group"

    def _enough_memory(self) -> Iterator[str]:
        """Yield caps of single devices that are enough, the smallest increase first."""
        found: list[tuple[int, str]] = []
        for kind, flag in (("memory_bytes", "--memory"), ("slice_memory_bytes", "--slice-memory")):
            caps = getattr(self.table, kind)
            for device in np.flatnonzero(np.isfinite(caps)).tolist():
                needed = self._enough_of(kind, device)
                if needed is not None:
                    more = needed - int(caps[device])
                    found.append((more, f"{flag} {self.table.device_names[device]}={needed} ({more} bytes more)"))
        yield from (words for _, words in sorted(found))

    def _enough_of(self, kind: str, device: int) -> int | None:
        """Return a cap of one device, in bytes, with which a plan was found; None where there is no such plan."""

        def needed(cap: float) -> int | None:
            caps = getattr(self.table, kind).copy()
            caps[device] = cap
            found = self._plan(replace(self.table, **{kind: caps}), self.request)
            if found is None:
                return None
            count = device_bytes if kind == "memory_bytes" else largest_slice_bytes
            return count(self.table, found.proposal, device)

        low = float(getattr(self.table, kind)[device])
        high = next((found for growth in GROWTHS if (found := needed(growth * low)) is not None), None)
        for _ in range(TO_THE_BYTE if exhaustive_fits(self.table, self.request) else HALVINGS):
            if high is None or high - low <= 1:
                break
            middle = (low + high) // 2
            less = needed(middle)
            low, high = (middle, high) if less is None else (low, less)
        return high

    def _plan(self, table: CostTable, request: Request) -> Solved | None:
        """Return a plan that satisfies a request, if one is found in a moment."""
        if time.monotonic() > self.until:
            return None
        limit_s = max(SHARE * request.time_limit_s, LEAST_S)
        with suppress(InfeasibleError):
            return self.solve(table, replace(request, time_limit_s=limit_s))
        return None


def _rounded_up(value: float) -> str:
    """Return a number of four digits or more that is not below the value, but for rounding."""
    digits = max(0, 4 - math.ceil(math.log10(value))) if value > 0 else 0
    return f"{math.ceil(value * (1 - 1e-9) * 10**digits) / 10**digits:.{digits}f}"
