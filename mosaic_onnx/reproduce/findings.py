"""The numerical results of a reproduction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.plans import Objective
from mosaic_onnx.files.device_file import read_shipped
from mosaic_onnx.profiling.estimators.levels import LevelErrors
from mosaic_onnx.reproduce import paper
from mosaic_onnx.reproduce.accuracy import BENT_OVERLAP, EstimationError, estimation_errors, level_errors
from mosaic_onnx.reproduce.agreement import Agreement, by_name, compare
from mosaic_onnx.reproduce.calibrate import Calibration
from mosaic_onnx.reproduce.calibration_files import read_seeds
from mosaic_onnx.reproduce.checks import NetworkRate, Spread, independent_rates, three_slice_spread
from mosaic_onnx.reproduce.overheads import PlanningTime, planning_times
from mosaic_onnx.reproduce.rates import devices as devices_of
from mosaic_onnx.reproduce.versions import MOSAIC, ON_DEMAND, PERFORMANCE, Outcomes, evaluate
from mosaic_onnx.zoo import WORKLOADS

SUFFIX = {"latency": "P", "energy": "O"}
"""The governors of the paper's comparisons: performance for latency, on-demand for energy."""
Governed = Literal["latency", "energy"]


@dataclass(frozen=True)
class Scope:
    """The size of an evaluation.

    Attributes:
        workloads: names of Table I's rows.
        random_count: random plans for each workload and objective.
        seed_count: calibrations whose spread is shown.
        timing_repeats: runs of the planner, of which the fastest counts.
    """

    workloads: tuple[str, ...]
    random_count: int
    seed_count: int
    timing_repeats: int


FULL = Scope(tuple(WORKLOADS), 1000, 8, 20)
QUICK = Scope(("mnasnet_1.0", "mobilenet_v2_1.4", "vgg16", "mobilenet_v2_1.0", "squeezenet"), 50, 2, 3)


@dataclass(frozen=True)
class SeedFinding:
    """The predictions of one calibration, none of which was fitted.

    Attributes:
        seed: seed of the calibration.
        latency_small: [4] reduction in per cent for small models, against big, little, GPU, NPU preferred.
        energy_small: [4] likewise.
        table_iii: agreement of each large workload's plan.
    """

    seed: int
    latency_small: tuple[float, ...]
    energy_small: tuple[float, ...]
    table_iii: tuple[Agreement, ...]


@dataclass(frozen=True)
class Findings:
    """All results of a reproduction."""

    scope: Scope
    outcomes: Outcomes
    table_iii: tuple[Agreement, ...]
    table_iii_trivial: tuple[Agreement, ...]
    table_iv: tuple[Agreement, ...]
    seeds: tuple[SeedFinding, ...]
    errors: tuple[EstimationError, ...]
    bent_errors: tuple[EstimationError, ...]
    level_errors: tuple[LevelErrors, ...]
    planning: tuple[PlanningTime, ...]
    rates: tuple[NetworkRate, ...]
    figure_5: Spread
    versions_beaten: tuple[str, ...]

    @property
    def large(self) -> tuple[str, ...]:
        """Return the large workloads of the evaluation."""
        return tuple(name for name in self.scope.workloads if WORKLOADS[name].large)

    @property
    def small(self) -> tuple[str, ...]:
        """Return the small workloads of the evaluation."""
        return tuple(name for name in self.scope.workloads if not WORKLOADS[name].large)

    def reductions(self, objective: Governed, *, large: bool) -> tuple[float, ...]:
        """Return [4] reductions in per cent against big, little, GPU, NPU preferred, under the paper's governor."""
        return _reductions(self.outcomes, self.large if large else self.small, objective)

    def gpu_errors(self) -> dict[str, float]:
        """Return {workload: simulated / printed GPU latency - 1} for Table I."""
        found = {}
        for name in self.scope.workloads:
            seconds = self.outcomes.by_key[name, "latency", "TF-GPU-P"].seconds
            found[name] = seconds / WORKLOADS[name].gpu_s - 1
        return found


def find(scope: Scope) -> Findings:
    """Run the evaluation on the shipped description."""
    devices = read_shipped("hikey970")
    objectives: tuple[Objective, ...] = ("latency", "energy", "edp")
    outcomes = evaluate(scope.workloads, devices, scope.random_count, objectives)
    return Findings(
        scope=scope,
        outcomes=outcomes,
        table_iii=agreements(outcomes, "latency", paper.TABLE_III),
        table_iii_trivial=agreements(outcomes, "latency", paper.TABLE_III, "TF-NPU-P"),
        table_iv=agreements(outcomes, "energy", paper.TABLE_IV),
        seeds=tuple(_seed(one, scope.workloads) for one in read_seeds()[: scope.seed_count]),
        errors=estimation_errors(scope.workloads, devices, 1.0),
        bent_errors=estimation_errors(scope.workloads, devices, BENT_OVERLAP),
        level_errors=level_errors(scope.workloads[0], devices, BENT_OVERLAP),
        planning=planning_times(scope.workloads, devices, scope.timing_repeats),
        rates=independent_rates(devices),
        figure_5=three_slice_spread(devices),
        versions_beaten=beaten_by(outcomes, objectives),
    )


def agreements(
    outcomes: Outcomes, objective: Governed, printed: Mapping[str, tuple[paper.Step, ...]], version: str = MOSAIC
) -> tuple[Agreement, ...]:
    """Return every workload's plan against a printed table."""
    plans = by_name(printed)
    return tuple(
        compare(name, outcomes.by_key[name, objective, version].plan, plans[name])
        for name in outcomes.workloads
        if name in plans
    )


def beaten_by(outcomes: Outcomes, objectives: Sequence[Objective]) -> tuple[str, ...]:
    """Return the versions (including random plans) that are better than MOSAIC for some workload."""
    return tuple(
        f"{name}, {objective}: {version}"
        for (name, objective, version), outcome in outcomes.by_key.items()
        if objective in objectives and outcome.figure < outcomes.by_key[name, objective, MOSAIC].figure * (1 - 1e-9)
    )


def _seed(one: Calibration, names: Sequence[str]) -> SeedFinding:
    devices: tuple[Device, ...] = devices_of(one.rates, one.powers)
    versions = (MOSAIC, *PERFORMANCE, *ON_DEMAND)
    outcomes = evaluate(names, devices, 1, ("latency", "energy"), only=versions)
    small = [name for name in names if not WORKLOADS[name].large]
    return SeedFinding(
        one.seed,
        _reductions(outcomes, small, "latency"),
        _reductions(outcomes, small, "energy"),
        agreements(outcomes, "latency", paper.TABLE_III),
    )


def _reductions(outcomes: Outcomes, names: Sequence[str], objective: Governed) -> tuple[float, ...]:
    versions = [f"TF-{device.upper()}-{SUFFIX[objective]}" for device in paper.DEVICES]
    return tuple(outcomes.reduction(names, objective, version) for version in versions)


def mean_absolute(values: Sequence[float]) -> float:
    """Return the mean absolute value in per cent."""
    return 100.0 * float(np.mean(np.abs(values))) if values else 0.0
