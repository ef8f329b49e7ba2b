"""Fit a description to few published numbers: Table I's latencies and the eight headline reductions.

About thirty parameters are fitted to eighteen numbers, so meeting them proves nothing; the priors (``priors``)
determine the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.backends.simulated.cost_law import power_w
from mosaic_onnx.backends.simulated.options import SimulatedOptions
from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import Floats
from mosaic_onnx.core.devices import Device
from mosaic_onnx.planner.baselines.filling import filled_slices
from mosaic_onnx.planner.baselines.governors import on_demand
from mosaic_onnx.reproduce import paper, priors
from mosaic_onnx.reproduce.chain import ChainCosts, least_total, reductions, total_of
from mosaic_onnx.reproduce.features import Features, features, latency_costs, legal_slices, preference
from mosaic_onnx.reproduce.rates import (
    Powers,
    Rates,
    devices,
    powers_from_vector,
    rates_from_vector,
    to_vector,
)
from mosaic_onnx.reproduce.workloads import described_profile, layered
from mosaic_onnx.zoo import WORKLOADS

PRIOR_DEVIATION = 0.7
"""Deviation of the logarithm from its prior: a factor of two is ordinary."""
SEED_DEVIATION = 0.5
"""Deviation of the logarithm of another seed's prior from the plain one."""
TABLE_I_DEVIATION = 0.05
REDUCTION_DEVIATION = 0.002
"""Deviation of the logarithm of the remaining share: reductions are met to about a tenth of a percentage point."""
MOST_EVALUATIONS = 200


@dataclass(frozen=True)
class Calibration:
    """The fit of one seed."""

    seed: int
    rates: Rates
    powers: Powers


def calibrate(seed: int) -> Calibration:
    """Fit rates, then powers; the same seed gives the same numbers (after rounding the last digits away).

    Args:
        seed: 0 starts from the plain priors; others start from priors changed at random.
    """
    stream = np.random.Generator(np.random.PCG64(seed))
    workloads = [features(name) for name in WORKLOADS]
    rates = _fit_rates(workloads, _moved(to_vector(priors.RATES), seed, stream))
    powers = _fit_powers(rates, _moved(to_vector(priors.POWERS), seed, stream))
    return Calibration(seed, rates, powers)


def latency_reductions(workloads: Sequence[Features], rates: Rates) -> tuple[Floats, Floats]:
    """Return [4] reductions against the preferred versions, and [W] the GPU-preferred version's seconds."""
    ours, theirs = [], []
    for one in workloads:
        slices = latency_costs(one, rates).slices()
        ours.append(least_total(slices))
        theirs.append([total_of(slices, one.preferred[name]) for name in paper.DEVICES])
    preferred = np.array(theirs)
    return reductions(np.array(ours), preferred), preferred[:, paper.DEVICES.index("gpu")]


def _moved(center: Floats, seed: int, stream: np.random.Generator) -> Floats:
    return center + stream.normal(0.0, SEED_DEVIATION, len(center)) if seed else center


def _fit_rates(workloads: Sequence[Features], prior: Floats) -> Rates:
    large = [one for one in workloads if one.workload.large]
    small = [one for one in workloads if not one.workload.large]
    wanted_s = np.array([one.workload.gpu_s for one in (*large, *small)])

    def misses(vector: Floats) -> Floats:
        rates = rates_from_vector(vector)
        reached, large_s = latency_reductions(large, rates)
        small_s = [total_of(latency_costs(one, rates).slices(), one.preferred["gpu"]) for one in small]
        table = np.log(np.concatenate([large_s, small_s]) / wanted_s) / TABLE_I_DEVIATION
        headline = _headline_misses(reached, paper.LATENCY_LARGE)
        return np.concatenate([table, headline, (vector - prior) / PRIOR_DEVIATION])

    return rates_from_vector(_least_squares(misses, prior))


def _headline_misses(reached: Floats, wanted: Sequence[float]) -> Floats:
    return np.asarray(np.log((1 - reached / 100) / (1 - np.array(wanted) / 100)) / REDUCTION_DEVIATION)


def _least_squares(misses: object, start: Floats) -> Floats:
    from scipy.optimize import least_squares

    return np.asarray(least_squares(misses, start, diff_step=1e-4, max_nfev=MOST_EVALUATIONS).x)


@dataclass(frozen=True)
class _Use:
    """The seconds that a version spends, which times the watts give its joules.

    Attributes:
        state_s: [S] execution in each state.
        copy_s: transfers.
    """

    state_s: Floats
    copy_s: float


@dataclass(frozen=True)
class _Spent:
    """The times of one large workload."""

    seconds: ChainCosts
    versions: tuple[_Use, ...]


def _fit_powers(rates: Rates, prior: Floats) -> Powers:
    spent = [_spent(name, rates) for name, workload in WORKLOADS.items() if workload.large]

    def misses(vector: Floats) -> Floats:
        powers = powers_from_vector(vector)
        ours, theirs = zip(*(_joules(one, powers) for one in spent), strict=True)
        headline = _headline_misses(reductions(np.array(ours), np.array(theirs)), paper.ENERGY_LARGE)
        return np.concatenate([headline, (vector - prior) / PRIOR_DEVIATION])

    return powers_from_vector(_least_squares(misses, prior))


def _spent(name: str, rates: Rates) -> _Spent:
    """Return the times of a workload's layers at all 25 states (Equation 7), and of its on-demand versions."""
    table = cost_table(described_profile(layered(name), devices(rates, priors.POWERS)))
    device_of = table.state_device
    fits = legal_slices(table)[:, :, device_of]
    entering = [layer[0] for layer in table.layer_inputs]
    leaving = [layer[0] for layer in table.layer_outputs]
    seconds = ChainCosts(table.layer_s, table.from_host_s[entering], table.to_host_s[leaving], fits)
    versions = []
    for device in paper.DEVICES:
        state_s, copy_s = np.zeros(len(table.state_names)), 0.0
        for placed in on_demand(table, filled_slices(table, preference(table, device))):
            state_s[placed.state] += table.layer_s[list(placed.layers), placed.state].sum()
            copy_s += float(seconds.copy_in[placed.layers[0], placed.state])
            copy_s += float(seconds.copy_out[placed.layers[-1], placed.state])
        versions.append(_Use(state_s, copy_s))
    return _Spent(seconds, tuple(versions))


def _joules(one: _Spent, powers: Powers) -> tuple[float, list[float]]:
    """Return MOSAIC's least joules, and those of the on-demand versions."""
    watts = state_watts(powers)
    costs = ChainCosts(
        one.seconds.layer * watts,
        one.seconds.copy_in * powers.copy_w,
        one.seconds.copy_out * powers.copy_w,
        one.seconds.fits,
    )
    return least_total(costs.slices()), [
        float(use.state_s @ watts) + use.copy_s * powers.copy_w for use in one.versions
    ]


def state_watts(powers: Powers) -> Floats:
    """Return [25] the watts of every state (Equations 4 and 5); static power is proportional to the voltage."""
    watts = []
    for name in paper.DEVICES:
        dynamic_w: float = getattr(powers, name)
        options = SimulatedOptions({}, dynamic_w=dynamic_w, static_w=dynamic_w * getattr(powers, f"{name}_static"))
        device = Device(name, levels=paper.LEVELS[name])
        watts += [power_w(device, level, options) or 0.0 for level in device.levels or (None,)]
    return np.array(watts)
