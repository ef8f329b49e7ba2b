"""Costs as distributions: a profile whose layers take as long as a quantile of their runs."""

from __future__ import annotations

from dataclasses import replace

from mosaic_onnx.core.errors import UsageError
from mosaic_onnx.core.profiles import Cost, Profile


def at_quantile(profile: Profile, quantile: float) -> Profile:
    """Return the profile with every layer's and measured slice's seconds at a quantile of their runs.

    Each is taken as normal with mean ``seconds`` and standard deviation ``seconds_std``, so its quantile is
    ``seconds`` + z · ``seconds_std``. A plan's seconds are then a sum (or a longest path) of quantiles. For quantiles
    from 0.5 on that is at least the quantile of a sequential plan's total, whatever the correlation of jointly normal
    layers, because the deviation of a sum is at most the sum of the deviations; it is the quantile itself where all
    layers are slow at once (a hot device, a busy machine), and too much where they are independent. Joules keep their
    usual values, and no time falls below 0.

    Raises:
        UsageError: the quantile is outside (0, 1), or no cost of the profile has a ``seconds_std``.
    """
    from statistics import NormalDist  # not above: that is 17 ms of every command's start

    if not 0 < quantile < 1:
        raise UsageError(f"quantile {quantile:g}: it must lie between 0 and 1", "0.9 for nine runs of ten")
    costs = [cost for layer in profile.layers for cost in layer.cost.values() if cost is not None]
    if not any(cost.seconds_std for cost in costs) and not any(one.seconds_std for one in profile.segments):
        raise UsageError(
            "the profile has no spreads, so no quantile can be planned for", "give `seconds_std` beside `seconds`"
        )
    z = NormalDist().inv_cdf(quantile)
    layers = tuple(
        replace(layer, cost={state: _cost_at(cost, z) for state, cost in layer.cost.items()})
        for layer in profile.layers
    )
    segments = tuple(
        replace(one, seconds=max(0.0, one.seconds + z * one.seconds_std), seconds_std=0.0) for one in profile.segments
    )
    return replace(profile, layers=layers, segments=segments)


def _cost_at(cost: Cost | None, z: float) -> Cost | None:
    """Return a cost whose seconds lie ``z`` deviations above the mean."""
    if cost is None or not cost.seconds_std:
        return cost
    return replace(cost, seconds=max(0.0, cost.seconds + z * cost.seconds_std), seconds_std=0.0)
