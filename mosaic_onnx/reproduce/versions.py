"""The versions of section VI-A: their names, planner methods and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mosaic_onnx.core.cost_tables.cost_table import cost_table
from mosaic_onnx.core.cost_tables.costs import CostTable, Floats
from mosaic_onnx.core.devices import Device
from mosaic_onnx.core.plans import Objective, Plan
from mosaic_onnx.planner.core.request import Request
from mosaic_onnx.planner.solve import solve
from mosaic_onnx.reproduce.chain import reductions
from mosaic_onnx.reproduce.paper import DEVICES, FALLBACK
from mosaic_onnx.reproduce.workloads import described_profile, layered

MOSAIC = "MOSAIC"
EXHAUSTIVE = "Exhaustive"
RANDOM = "Random"
BASE = "TF-GPU-O"
"""The version that figures are normalised to: "the default setting of the Android OS"."""


def _preferred(method: str, suffix: str) -> dict[str, str]:
    """Return a preferred version such as TF-BIG-P; other layers fall back to NPU, GPU, big cluster (section VI-A)."""
    versions = {}
    for device in DEVICES:
        order = dict.fromkeys((device, *FALLBACK))
        versions[f"TF-{device.upper()}-{suffix}"] = f"{method}:{','.join(order)}"
    return versions


PERFORMANCE = _preferred("preferred", "P")
ON_DEMAND = _preferred("preferred-on-demand", "O")
ABLATIONS = {"HCA": "hca", "HCCA": "hcca"}


@dataclass(frozen=True)
class Outcome:
    """The simulated cost of one version of one workload for one objective."""

    workload: str
    objective: Objective
    version: str
    figure: float
    plan: Plan

    @property
    def seconds(self) -> float:
        """Return the simulated latency."""
        return self.plan.predicted.seconds

    @property
    def joules(self) -> float:
        """Return the simulated energy."""
        return self.plan.predicted.joules or 0.0


@dataclass(frozen=True)
class Outcomes:
    """All outcomes, by (workload, objective, version)."""

    by_key: Mapping[tuple[str, Objective, str], Outcome]
    workloads: tuple[str, ...]

    def figures(self, workloads: Sequence[str], objective: Objective, version: str) -> Floats:
        """Return [W] seconds, joules or joule-seconds."""
        return np.array([self.by_key[name, objective, version].figure for name in workloads])

    def reduction(self, workloads: Sequence[str], objective: Objective, version: str, ours: str = MOSAIC) -> float:
        """Return the percentage by which ``ours`` is below a version (geometric mean over the workloads)."""
        theirs = self.figures(workloads, objective, version)[:, None]
        return float(reductions(self.figures(workloads, objective, ours), theirs)[0])


def methods(random_count: int) -> dict[str, str]:
    """Return {version: planner method}; MOSAIC's dynamic program is exact on a chain for all three objectives."""
    return {
        **PERFORMANCE,
        **ON_DEMAND,
        **ABLATIONS,
        RANDOM: f"random:{random_count}",
        EXHAUSTIVE: f"best-of:{random_count}",
        MOSAIC: "interval",
    }


def evaluate(
    names: Sequence[str],
    devices: Sequence[Device],
    random_count: int,
    objectives: Sequence[Objective],
    only: Sequence[str] = (),
) -> Outcomes:
    """Plan every version of every workload and return the simulated outcomes.

    Args:
        names: workloads.
        devices: described devices with all their levels.
        random_count: random plans of the exhaustive version.
        objectives: the objectives to plan for.
        only: versions to evaluate; empty for all.
    """
    found: dict[tuple[str, Objective, str], Outcome] = {}
    for name in names:
        table = cost_table(described_profile(layered(name), devices))
        for objective in objectives:
            for version, method in methods(random_count).items():
                if only and version not in only:
                    continue
                found[name, objective, version] = _outcome(table, name, objective, version, method)
    return Outcomes(found, tuple(names))


def _outcome(table: CostTable, name: str, objective: Objective, version: str, method: str) -> Outcome:
    plan = solve(table, Request(objective=objective, method=method)).plan
    seconds, joules = plan.predicted.seconds, plan.predicted.joules or 0.0
    figure = {"latency": seconds, "energy": joules, "edp": seconds * joules}[objective]
    return Outcome(name, objective, version, figure, plan)
