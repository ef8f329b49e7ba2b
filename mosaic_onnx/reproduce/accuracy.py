"""Estimation accuracy (Figures 14 and 15): plan on estimated costs, then compare with the plan's real cost.

The real cost is that of a simulated device with measurement noise, whose law over levels may differ from the
estimator's. So the errors are those of the estimators on *that* law, not the paper's 3.0 % and 4.3 % on a board.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.devices import Device, Level
from mosaic_onnx.core.profiles import HOST, Cost, Profile, TransferCost
from mosaic_onnx.planner.chain.method import interval
from mosaic_onnx.planner.core.request import Proposal, Request
from mosaic_onnx.planner.core.simulate import simulate, value
from mosaic_onnx.profiling.estimators.communication import CopyFit, fit_line
from mosaic_onnx.profiling.estimators.execution import execution_seconds
from mosaic_onnx.profiling.estimators.levels import LevelErrors, fill_levels, leave_levels_out
from mosaic_onnx.profiling.estimators.power import StaticPower
from mosaic_onnx.reproduce.workloads import described_profile, layered

NOISE = 0.02
"""Relative standard deviation of each measurement."""
BENT_OVERLAP = 1.5
"""Exponent of a law that Equation 3 does not know: t^1.5 = (γ/f)^1.5 + ε^1.5."""
COPY_SIZES = tuple(4**power for power in range(4, 13))
"""256 bytes to 16 MiB."""
COPY_SAMPLES = 5


@dataclass(frozen=True)
class EstimationError:
    """Estimated over real, minus 1, of MOSAIC's plan for a workload."""

    workload: str
    objective: Literal["latency", "energy"]
    error: float


def estimation_errors(names: Iterable[str], devices: Sequence[Device], overlap: float) -> tuple[EstimationError, ...]:
    """Profile with noise at two levels, estimate, plan, and compare the plan's estimated with its real cost.

    Args:
        names: workloads.
        devices: described devices; their noise and overlap are replaced.
        overlap: exponent of the law over levels; 1 is Equation 3.
    """
    real = [_with(device, overlap=overlap) for device in devices]
    noisy = [_with(device, overlap=overlap, noise=NOISE) for device in devices]
    errors = []
    for name in names:
        truth = cost_table(described_profile(layered(name), real))
        estimated = cost_table(estimated_profile(described_profile(layered(name), noisy), noisy))
        for objective in ("latency", "energy"):
            request = Request(objective=objective)
            plan: Proposal = interval(estimated, request).proposals[0]
            guess = value(simulate(estimated, plan), objective)
            errors.append(EstimationError(name, objective, guess / value(simulate(truth, plan), objective) - 1))
    return tuple(errors)


def estimated_profile(measured: Profile, devices: Sequence[Device], seed: int = 0) -> Profile:
    """Return the profile that MOSAIC's estimators compute from measurements (section V-B).

    The layers' totals at the lowest and highest levels include execution and communication, as measured ones do. The
    communication estimator's lines are fitted to a noisy microbenchmark and subtracted; other levels are estimated.

    Args:
        measured: noisy execution costs at all levels (only the ends are used), and exact copies.
        devices: the devices.
        seed: of the microbenchmark's noise.
    """
    stream = np.random.Generator(np.random.PCG64(seed))
    lines = {(copy.source, copy.destination): fit_line(benchmark_points(copy, stream)) for copy in measured.copies}
    layers = []
    for layer in measured.layers:
        sizes = [sum(measured.tensor_bytes[name] for name in names) for names in (layer.inputs, layer.outputs)]
        cost: dict[str, Cost | None] = {}
        for device in devices:
            for state in dict.fromkeys((device.states[0], device.states[-1])):
                given = layer.cost.get(state)
                cost[state] = None if given is None else _without_copies(given, device, measured.copies, lines, sizes)
        layers.append(replace(layer, cost=cost))
    copies = tuple(
        replace(
            copy,
            seconds_per_byte=lines[copy.source, copy.destination].seconds_per_byte,
            seconds=lines[copy.source, copy.destination].seconds,
            joules_per_byte=_watts(copy) * lines[copy.source, copy.destination].seconds_per_byte,
            joules=_watts(copy) * lines[copy.source, copy.destination].seconds,
        )
        for copy in measured.copies
    )
    ends = replace(measured, layers=tuple(layers), copies=copies)
    return fill_levels(ends, {device.name: static_power(device) for device in devices})


def level_errors(name: str, devices: Sequence[Device], overlap: float) -> tuple[LevelErrors, ...]:
    """Return the errors of each device's middle levels when only the ends are profiled, without noise."""
    bent = [_with(device, overlap=overlap) for device in devices]
    statics = {device.name: static_power(device) for device in bent}
    return leave_levels_out(described_profile(layered(name), bent), statics)


def static_power(device: Device) -> StaticPower:
    """Return the device's static power at every level, profiled once: its power without dynamic power."""
    from mosaic_onnx.backends.simulated.cost_law import power_w
    from mosaic_onnx.backends.simulated.options import read_options

    options = replace(read_options(device), dynamic_w=0.0)
    levels: tuple[Level, ...] = device.levels
    return StaticPower({level.name: power_w(device, level, options) or 0.0 for level in levels})


def _without_copies(
    given: Cost,
    device: Device,
    copies: Sequence[TransferCost],
    lines: dict[tuple[str, str], CopyFit],
    sizes: Sequence[int],
) -> Cost:
    """Return execution = total - communication; the total has the real transfers, the estimate is subtracted."""
    real = {(copy.source, copy.destination): copy for copy in copies}
    places = ((HOST, device.name), (device.name, HOST))
    if places[0] not in lines:
        return given
    total_s = given.seconds + sum(
        real[place].seconds_per_byte * size + real[place].seconds for place, size in zip(places, sizes, strict=True)
    )
    received, sent = ((lines[place], size) for place, size in zip(places, sizes, strict=True))
    seconds = execution_seconds(total_s, received, sent)
    joules = None if given.joules is None else given.joules * seconds / given.seconds
    return replace(given, seconds=seconds, joules=joules, source="modelled")


def benchmark_points(copy: TransferCost, stream: np.random.Generator) -> list[tuple[float, float]]:
    """Return (bytes, seconds) of noisy copies of several sizes: the simulated microbenchmark."""
    return [
        (size, (copy.seconds_per_byte * size + copy.seconds) * (1 + NOISE * stream.standard_normal()))
        for size in COPY_SIZES
        for _ in range(COPY_SAMPLES)
    ]


def _watts(copy: TransferCost) -> float:
    return copy.joules / copy.seconds if copy.seconds else 0.0


def _with(device: Device, **options: float) -> Device:
    return replace(device, options={**device.options, **options})
