"""Statistics of a run of a scenario: for each model rates, latencies, misses; for each device its utilisation."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mosaic_onnx.scenarios.serving.frame import Frame
from mosaic_onnx.scenarios.simulation.score import real_time_term


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
        score: XRBench's score of its frames, time only, from 0 to 1.
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
    score: float
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


@dataclass
class ModelTally:
    """One model's frames, counted as they end: a long run keeps sixteen bytes of each.

    Attributes:
        frame_count: frames that are over.
        dropped_count: those that were dropped.
        failed_count: those that a device failed on.
        wrong_count: those whose outputs differed.
        rerun_count: how often a frame ran again.
        latency_s: of every frame that completed.
        lateness_s: of the same, from its deadline to its completion; negative where it was in time.
    """

    frame_count: int = 0
    dropped_count: int = 0
    failed_count: int = 0
    wrong_count: int = 0
    rerun_count: int = 0
    latency_s: array[float] = field(default_factory=lambda: array("d"))
    lateness_s: array[float] = field(default_factory=lambda: array("d"))

    def add(self, frame: Frame) -> None:
        """Count a frame that is over."""
        self.frame_count += 1
        self.dropped_count += frame.is_dropped
        self.failed_count += frame.error is not None
        self.wrong_count += frame.is_wrong
        self.rerun_count += frame.rerun_count
        if frame.completion_s is not None:
            self.latency_s.append(frame.completion_s - frame.arrival_s)
            self.lateness_s.append(frame.completion_s - frame.due_s)

    def statistics(self, name: str, seconds: float) -> ModelStatistics:
        """Return what the frames came to; rates are taken over so many seconds."""
        latencies, lateness = np.array(self.latency_s), np.array(self.lateness_s)
        quantiles = [float(one) for one in np.percentile(latencies, [50, 90, 99])] if len(latencies) else [None] * 3
        kept_share = 1.0 - self.dropped_count / self.frame_count if self.frame_count else 0.0
        met = float(real_time_term(lateness).sum()) / self.frame_count if self.frame_count else 0.0
        return ModelStatistics(
            name=name,
            frame_count=self.frame_count,
            completed_count=len(latencies),
            dropped_count=self.dropped_count,
            late_count=int((lateness > 0).sum()),
            failed_count=self.failed_count,
            wrong_count=self.wrong_count,
            rerun_count=self.rerun_count,
            rate_hz=len(latencies) / seconds if seconds > 0 else 0.0,
            score=met * kept_share,
            p50_s=quantiles[0],
            p90_s=quantiles[1],
            p99_s=quantiles[2],
        )


class Tally:
    """All frames of a run, counted as they end; it is not made for several threads at once."""

    def __init__(self, frames: Iterable[Frame] = ()) -> None:
        """Count some frames to begin with."""
        self._models: dict[str, ModelTally] = {}
        self._busy_s: dict[str, float] = {}
        for frame in frames:
            self.add(frame)

    def add(self, frame: Frame) -> None:
        """Count a frame that is over."""
        self._models.setdefault(frame.model, ModelTally()).add(frame)
        for span in frame.spans:
            self._busy_s[span.device] = self._busy_s.get(span.device, 0.0) + span.end_s - span.start_s

    def statistics(
        self, names: Iterable[str], devices: Iterable[str], seconds: float, *, is_simulated: bool = False
    ) -> ScenarioStatistics:
        """Return what all frames came to.

        Args:
            names: models in the order to tell them.
            devices: in the order to tell them.
            seconds: how long the run took.
            is_simulated: the times are the simulator's.
        """
        models = {name: self._models.get(name, ModelTally()) for name in (*names, *self._models)}
        busy_s = {device: self._busy_s.get(device, 0.0) for device in (*devices, *self._busy_s)}
        return ScenarioStatistics(
            seconds=seconds,
            models=tuple(one.statistics(name, seconds) for name, one in models.items()),
            utilisation={device: busy / seconds if seconds > 0 else 0.0 for device, busy in busy_s.items()},
            is_simulated=is_simulated,
        )
