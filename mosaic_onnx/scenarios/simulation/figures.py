"""Figures of each group of a run: makespans, misses, drops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.simulation.events import INF, Run


@dataclass(frozen=True)
class GroupFigures:
    """One group of a run.

    Attributes:
        name: the group's.
        mean_makespan_s: from a request's arrival to the end of the last of its frames that was not dropped, over the
            requests of which at least one was not; None where all were.
        p90_makespan_s: the 90th percentile of the same.
        miss_share: of all its frames, those that were late or dropped.
        drop_share: of all its frames, those that were dropped.
    """

    name: str
    mean_makespan_s: float | None
    p90_makespan_s: float | None
    miss_share: float
    drop_share: float


def group_latencies(run: Run, instance: Instance, group: int) -> np.ndarray:
    """Return [models of the group, F] seconds from arrival to completion; inf for dropped frames."""
    arrival = np.array(run.arrivals.arrival_s[group])
    latency: np.ndarray = np.array([run.completion_s[model] for model in instance.models_of_group[group]]) - arrival
    return latency


def group_figures(run: Run, instance: Instance) -> tuple[GroupFigures, ...]:
    """Return the figures of every group."""
    figures = []
    for g, group in enumerate(instance.groups):
        latency = group_latencies(run, instance, g)
        done = np.isfinite(latency)
        makespans = np.where(done, latency, -INF).max(axis=0)
        makespans = makespans[np.isfinite(makespans)]
        figures.append(
            GroupFigures(
                name=group.name,
                mean_makespan_s=float(makespans.mean()) if len(makespans) else None,
                p90_makespan_s=float(np.percentile(makespans, 90)) if len(makespans) else None,
                miss_share=float((latency > run.arrivals.deadline_s[g] * (1 + 1e-12)).mean()),
                drop_share=float((~done).mean()),
            )
        )
    return tuple(figures)


def penalised_makespans(run: Run, instance: Instance) -> tuple[float, ...]:
    """Return (mean, 90th percentile) of each group in turn, for search: a dropped frame counts as two deadlines."""
    values: list[float] = []
    for g in range(len(instance.groups)):
        latency = group_latencies(run, instance, g)
        makespans = np.where(np.isfinite(latency), latency, 2 * run.arrivals.deadline_s[g]).max(axis=0)
        values += [float(makespans.mean()), float(np.percentile(makespans, 90))]
    return tuple(values)
