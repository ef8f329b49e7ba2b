"""The least period multiplier α* at which a schedule satisfies its scenario."""

from __future__ import annotations

from math import sqrt

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.simulation.arrivals import periodic_arrivals
from mosaic_onnx.scenarios.simulation.events import Run, simulate_schedule
from mosaic_onnx.scenarios.simulation.frame_work import slice_graphs
from mosaic_onnx.scenarios.simulation.score import is_satisfied
from mosaic_onnx.scenarios.slice_graph import SliceGraph

PRECISION = 1.01
"""Bisection ends when the satisfied and the unsatisfied multiplier are within this ratio."""
_LEAST = 1e-9
_MOST_DOUBLINGS = 80


class ScheduleEvaluator:
    """One schedule, simulated at any multiplier."""

    def __init__(self, instance: Instance, schedule: Schedule, seed: int = 0) -> None:
        """Lay out the schedule's slices.

        Raises:
            InfeasibleError: some model's slices cannot run.
        """
        self._instance, self._schedule, self._seed = instance, schedule, seed
        self.graphs: tuple[SliceGraph, ...] = slice_graphs(instance, schedule)

    def run(self, multiplier: float, *, traced: bool = False) -> Run:
        """Simulate at one multiplier."""
        arrivals = periodic_arrivals(self._instance.scenario, multiplier, self._seed)
        return simulate_schedule(self._instance, self._schedule, self.graphs, arrivals, traced=traced)

    def satisfies(self, multiplier: float) -> bool:
        """Return whether the scenario is satisfied at one multiplier."""
        return is_satisfied(self.run(multiplier), self._instance)

    def least_multiplier(self, bound: float) -> float:
        """Return the least satisfied multiplier, within ``PRECISION``.

        All schedulers search the same grid, which starts at the bound: doubled until satisfied, then bisected. More
        time does not always help a non-preemptive schedule; what is returned is satisfied, and the next point of the
        grid below it that was tried is not.

        Args:
            bound: no schedule is satisfied below it.

        Raises:
            InfeasibleError: it is satisfied nowhere.
        """
        low = max(bound, _LEAST)
        if self.satisfies(low):
            return low
        high = 2 * low
        for _ in range(_MOST_DOUBLINGS):
            if self.satisfies(high):
                break
            low, high = high, 2 * high
        else:
            raise InfeasibleError(
                f"no period multiplier up to {high:.3g} satisfies the scenario",
                "jitter that no deadline allows for? jitter is not scaled",
            )
        while high / low > PRECISION:
            middle = sqrt(low * high)
            if self.satisfies(middle):
                high = middle
            else:
                low = middle
        return high
