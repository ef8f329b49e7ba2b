"""Evaluation of schedules: one pure function, wherever it runs (here, in a process, on a cluster)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.scenarios.bound import needed_scores
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Schedule
from mosaic_onnx.scenarios.simulation.arrivals import request_counts
from mosaic_onnx.scenarios.simulation.events import Run
from mosaic_onnx.scenarios.simulation.figures import group_latencies, penalised_makespans
from mosaic_onnx.scenarios.simulation.multiplier import ScheduleEvaluator
from mosaic_onnx.scenarios.simulation.score import is_satisfied, score

INF = float("inf")
_LATENESS_WEIGHT = 100.0
_HOPELESS = -1000.0
_LATENESS_S = 0.6e-3


class EvaluationRequest(NamedTuple):
    """A request to evaluate one schedule.

    Attributes:
        kind: ``fitness`` at a multiplier, ``least-multiplier`` above a bound, ``makespans`` of the groups at one.
        schedule: which.
        multiplier: the multiplier or the bound.
        seed: of the arrivals' jitter.
    """

    kind: Literal["fitness", "least-multiplier", "makespans"]
    schedule: Schedule
    multiplier: float
    seed: int = 0


class Evaluation(NamedTuple):
    """The evaluation; ``value`` is inf (fitness: -inf) and ``makespans`` are inf where the schedule cannot run.

    Attributes:
        value: the fitness (larger is better) or the least multiplier.
        is_satisfied: of ``fitness``: the scenario is satisfied.
        makespans: of ``makespans``: see ``figures.penalised_makespans``.
    """

    value: float
    is_satisfied: bool = False
    makespans: tuple[float, ...] = ()


def evaluate(instance: Instance, request: EvaluationRequest) -> Evaluation:
    """Answer one request."""
    try:
        evaluator = ScheduleEvaluator(instance, request.schedule, request.seed)
        if request.kind == "least-multiplier":
            return Evaluation(evaluator.least_multiplier(request.multiplier))
        if request.kind == "makespans":
            run = evaluator.run(request.multiplier)
            return Evaluation(0.0, makespans=penalised_makespans(run, instance))
        return _fitness(instance, evaluator, request)
    except InfeasibleError:
        return Evaluation(-INF if request.kind == "fitness" else INF, makespans=(INF,) * (2 * len(instance.groups)))


def _fitness(instance: Instance, evaluator: ScheduleEvaluator, request: EvaluationRequest) -> Evaluation:
    """Return the score less what frames are late by: it tells hopeless schedules apart too, which all score 0.

    A schedule whose busiest unit cannot do its work in time is not simulated: its overload alone counts.
    """
    if not request.schedule.late_binding:
        overload = _overload(instance, evaluator, request.multiplier)
        if overload > 0:
            return Evaluation(_HOPELESS * (1.0 + overload))
    run = evaluator.run(request.multiplier)
    points = score(run, instance)
    return Evaluation(points - _LATENESS_WEIGHT * _mean_lateness(run, instance), is_satisfied(run, instance))


def _overload(instance: Instance, evaluator: ScheduleEvaluator, multiplier: float) -> float:
    """Return by what share the busiest unit's work exceeds the time until the last deadline; at most 0 where it fits.

    Counted are the fewest frames with which the scenario can be satisfied.
    """
    counts = request_counts(instance.scenario)
    window_s = _LATENESS_S + max(
        ((count - 1) * group.period_s + group.deadline_s) * multiplier + group.jitter_s
        for group, count in zip(instance.groups, counts, strict=True)
    )
    load_s = np.zeros(len(instance.unit_names))
    for model, graph, needed in zip(instance.models, evaluator.graphs, needed_scores(instance), strict=True):
        frame_count = counts[model.group] * max(0.0, needed - 1e-3)
        for unit, seconds in zip(graph.units, graph.seconds, strict=True):
            load_s[unit] += seconds * frame_count
    return float(load_s.max() / window_s) - 1.0


def _mean_lateness(run: Run, instance: Instance) -> float:
    """Return the mean over models of how late frames are, in deadlines, at most 1; a dropped frame counts 1."""
    lateness = [
        np.clip(group_latencies(run, instance, g) / run.arrivals.deadline_s[g] - 1.0, 0.0, 1.0).mean(axis=1)
        for g in range(len(instance.groups))
    ]
    return float(np.concatenate(lateness).mean())
