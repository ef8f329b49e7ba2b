"""XRBench's score (MLSys 2023), time only: how well the frames of a run met their deadlines, from 0 to 100."""

from __future__ import annotations

import numpy as np

from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.simulation.events import Run

STEEPNESS_PER_MS = 15.0
"""Of the real-time term: a frame 0.2 ms before its deadline has 0.95, one 0.2 ms after it 0.05."""
SATISFIED_SCORE = 95.0


def real_time_term(late_s: float | np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(15 · lateness in ms)); lateness is negative for frames before their deadline."""
    exponent = np.clip(np.asarray(late_s, dtype=np.float64) * 1e3 * STEEPNESS_PER_MS, -700.0, 700.0)
    return 1.0 / (1.0 + np.exp(exponent))


def model_score(run: Run, instance: Instance, model: int) -> float:
    """Return the mean of the real-time term over a model's frames, times the share that was not dropped."""
    group = instance.models[model].group
    completion = np.array(run.completion_s[model])
    due = np.array(run.arrivals.arrival_s[group]) + run.arrivals.deadline_s[group]
    done = np.isfinite(completion)
    terms = np.where(done, real_time_term(np.where(done, completion - due, 0.0)), 0.0)
    return float(terms.mean() * done.mean())


def score(run: Run, instance: Instance) -> float:
    """Return 100 times the mean over the models, each weighted by its group's weight (1 by default)."""
    weights = [instance.groups[model.group].weight for model in instance.models]
    scores = [model_score(run, instance, m) for m in range(len(instance.models))]
    return 100.0 * float(np.average(scores, weights=weights))


def is_satisfied(run: Run, instance: Instance) -> bool:
    """Return whether the score is at least ``SATISFIED_SCORE``, and no group drops more frames than it allows."""
    return score(run, instance) >= SATISFIED_SCORE and all(
        _keeps_its_frames(run, instance, group) for group in range(len(instance.groups))
    )


def _keeps_its_frames(run: Run, instance: Instance, group: int) -> bool:
    allowed = instance.groups[group].allowed_drop_share
    if allowed is None:
        return True
    dropped = ~np.isfinite([run.completion_s[model] for model in instance.models_of_group[group]])
    return float(dropped.mean()) <= allowed
