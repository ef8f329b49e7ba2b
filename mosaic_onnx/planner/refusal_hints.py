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
from mosaic_onnx.planner.core.memory import device_bytes
from mosaic_onnx.planner.core.request import Proposal, Request
from mosaic_onnx.planner.core.simulate import Timeline

SHARE, ALL = 0.1, 0.5
"""Of the time limit, what one search may take, and all together."""
LEAST_S = 0.5
"""The least time of one search."""
GROWTHS = (1.1, 1.5, 3.0, float("inf"))
"""Factors by which the cap of one device is tried."""
HALVINGS = 3
"""Number of times that the span between a cap that is too low and one that is enough is halved."""
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
        for change, words in (
            ({"one_slice_per_device": False}, "leaving out --one-slice-per-device"),
            ({"min_slice_count": 0}, "leaving out --min-slices"),
            ({"max_slice_count": None}, "leaving out --max-slices"),
        ):
            relaxed = replace(request, **change)
            if relaxed != request and self._plan(table, relaxed) is not None:
                yield words
        enough = [
            (needed - int(table.memory_bytes[device]), device, needed)
            for device in np.flatnonzero(np.isfinite(table.memory_bytes)).tolist()
            if (needed := self._enough_memory(device)) is not None
        ]
        for more, device, needed in sorted(enough):
            yield f"--memory {table.device_names[device]}={needed} ({more} bytes more)"

    def _enough_memory(self, device: int) -> int | None:
        """Return a cap of one device, in bytes, with which a plan was found; None where there is no such plan."""

        def needed(cap: float) -> int | None:
            caps = self.table.memory_bytes.copy()
            caps[device] = cap
            found = self._plan(replace(self.table, memory_bytes=caps), self.request)
            return None if found is None else device_bytes(self.table, found.proposal, device)

        low = float(self.table.memory_bytes[device])
        high = next((found for growth in GROWTHS if (found := needed(growth * low)) is not None), None)
        for _ in range(HALVINGS if high is not None else 0):
            middle = (low + (high or 0)) // 2
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
    """Return a number of four digits or more that is not below the value."""
    digits = max(0, 4 - math.ceil(math.log10(value))) if value > 0 else 0
    return f"{math.ceil(value * 10**digits) / 10**digits:.{digits}f}"
