"""One number per cost: seconds and joules weighed together, so that exact methods minimise a single sum.

A sequential plan's seconds are a sum, and so are its joules except for ``idle_w`` x makespan, which is a sum again
because the makespan is. Latency, energy and every mixture of them are therefore one weighed sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.core.errors import UsageError


@dataclass(frozen=True)
class Weights:
    """Weights of one second and one joule; both at least 0, not both 0.

    ``joules`` weighs the plan's whole energy, idle watts included.
    """

    seconds: float
    joules: float


LATENCY = Weights(1.0, 0.0)
ENERGY = Weights(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Weighed:
    """The cost table's costs, each as one number; axes as in ``CostTable``."""

    layer: Floats
    """[L, S]; inf where the state cannot run the layer."""
    to_host: Floats
    """[T, S]"""
    from_host: Floats
    """[T, S]"""
    direct: Mapping[tuple[int, int], Floats]
    """(source state, destination state) -> [T]; inf where the tensor goes by way of host."""
    switch: Floats
    """[S, S]"""
    slice: Floats
    """[D]"""
    segments: Mapping[tuple[int, int, int], float]
    """(first, last, state) -> cost; only where the state can run all its layers."""


def weigh(table: CostTable, weights: Weights) -> Weighed:
    """Weigh seconds and joules of all costs together.

    Raises:
        UsageError: joules count, but the profile has none.
    """
    if weights.joules and table.layer_j is None:
        raise UsageError("the profile has no joules, so energy cannot be planned", "give `joules` for every cost")
    per_second = weights.seconds + weights.joules * float(table.idle_w.sum())

    def mix(seconds: Floats, joules: Floats | None) -> Floats:
        extra = weights.joules * joules if weights.joules and joules is not None else 0.0
        return per_second * seconds + extra

    finite = np.isfinite(table.layer_s)
    layer_s = np.where(finite, table.layer_s, 0.0)
    layer_j = None if table.layer_j is None else np.where(finite, table.layer_j, 0.0)
    return Weighed(
        layer=np.where(finite, mix(layer_s, layer_j), np.inf),
        to_host=mix(table.to_host_s, table.to_host_j),
        from_host=mix(table.from_host_s, table.from_host_j),
        direct={pair: _finite(mix, seconds, table.direct_j[pair]) for pair, seconds in table.direct_s.items()},
        switch=mix(table.switch_s, table.switch_j),
        slice=mix(table.slice_s, table.slice_j),
        segments=_segments(table, per_second, weights.joules),
    )


def _finite(mix: Callable[[Floats, Floats], Floats], seconds: Floats, joules: Floats) -> Floats:
    """Return the mixture where the seconds are finite, inf elsewhere."""
    known = np.isfinite(seconds)
    return np.where(known, mix(np.where(known, seconds, 0.0), np.where(known, joules, 0.0)), np.inf)


def _segments(table: CostTable, per_second: float, per_joule: float) -> dict[tuple[int, int, int], float]:
    costs = {}
    for (first, last, state), (seconds, joules) in table.segments.items():
        if not np.isfinite(table.layer_s[first : last + 1, state]).all():
            continue  # a measured segment makes no layer supported
        cost = per_second * seconds
        if per_joule and table.layer_j is not None:
            own = float(table.layer_j[first : last + 1, state].sum()) if joules is None else joules
            cost += per_joule * own
        costs[first, last, state] = cost
    return costs
