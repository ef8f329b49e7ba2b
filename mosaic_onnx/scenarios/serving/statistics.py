"""Statistics of a run of a scenario: for each model rates, latencies, misses; for each device its utilisation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mosaic_onnx.scenarios.serving.frame import Frame


@dataclass(frozen=True)
class ModelStatistics:
    """One model.

    Attributes:
        name: ``group/model``.
        frame_count: frames that arrived and are over.
        completed_count: those that completed.
        dropped_count: those that were dropped.
        late_count: those that completed after their deadline.
        failed_count: those that a device failed on.
        wrong_count: those whose outputs were compared and differed.
        rerun_count: how often a frame ran again on other slices, since a device had failed on it.
        rate_hz: completed frames a second.
        p50_s: median latency; None where none completed.
        p90_s: 90th percentile.
        p99_s: 99th percentile.
    """

    name: str
    frame_count: int
    completed_count: int
    dropped_count: int
    late_count: int
    failed_count: int
    wrong_count: int
    rerun_count: int
    rate_hz: float
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None

    @property
    def miss_share(self) -> float:
        """Return the share of frames that were late, dropped or failed."""
        missed = self.late_count + self.dropped_count + self.failed_count
        return missed / self.frame_count if self.frame_count else 0.0

    @property
    def drop_share(self) -> float:
        """Return the share of frames that were dropped."""
        return self.dropped_count / self.frame_count if self.frame_count else 0.0


@dataclass(frozen=True)
class ScenarioStatistics:
    """A run.

    Attributes:
        seconds: how long it took, or takes so far.
        models: in the order of the scenario.
        utilisation: by device, the share of the time in which it ran slices.
        is_simulated: the times are the simulator's.
    """

    seconds: float
    models: tuple[ModelStatistics, ...]
    utilisation: dict[str, float]
    is_simulated: bool = False

    def as_fields(self) -> dict[str, Any]:
        """Return the figures for JSON, the shares of missed and of dropped frames among them."""
        shares = [{"miss_share": one.miss_share, "drop_share": one.drop_share} for one in self.models]
        models = [asdict(one) | share for one, share in zip(self.models, shares, strict=True)]
        return asdict(self) | {"models": models}


def model_statistics(name: str, frames: Sequence[Frame], seconds: float) -> ModelStatistics:
    """Return what the frames of one model came to.

    Args:
        name: ``group/model``.
        frames: those that are over.
        seconds: over which rates are taken.
    """
    latencies = [latency for frame in frames if (latency := frame.latency_s) is not None]
    quantiles = [float(one) for one in np.percentile(latencies, [50, 90, 99])] if latencies else [None] * 3
    return ModelStatistics(
        name=name,
        frame_count=len(frames),
        completed_count=len(latencies),
        dropped_count=sum(frame.is_dropped for frame in frames),
        late_count=sum(frame.is_late for frame in frames),
        failed_count=sum(frame.error is not None for frame in frames),
        wrong_count=sum(frame.is_wrong for frame in frames),
        rerun_count=sum(frame.rerun_count for frame in frames),
        rate_hz=len(latencies) / seconds if seconds > 0 else 0.0,
        p50_s=quantiles[0],
        p90_s=quantiles[1],
        p99_s=quantiles[2],
    )


def scenario_statistics(
    names: Sequence[str], frames: Iterable[Frame], devices: Sequence[str], seconds: float, *, is_simulated: bool = False
) -> ScenarioStatistics:
    """Return what all frames came to.

    Args:
        names: models in the order to tell them.
        frames: those that are over.
        devices: in the order to tell them.
        seconds: how long the run took.
        is_simulated: the times are the simulator's.
    """
    by_model: dict[str, list[Frame]] = {name: [] for name in names}
    busy_s = dict.fromkeys(devices, 0.0)
    for frame in frames:
        by_model.setdefault(frame.model, []).append(frame)
        for span in frame.spans:
            busy_s[span.device] = busy_s.get(span.device, 0.0) + span.end_s - span.start_s
    return ScenarioStatistics(
        seconds=seconds,
        models=tuple(model_statistics(name, own, seconds) for name, own in by_model.items()),
        utilisation={device: busy / seconds if seconds > 0 else 0.0 for device, busy in busy_s.items()},
        is_simulated=is_simulated,
    )
