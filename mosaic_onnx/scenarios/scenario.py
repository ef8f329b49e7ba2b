"""The scenario: groups of models that are requested together, periodically, with a deadline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DropRule = Literal["late", "never"]
"""``late``: a frame that has not begun when its successor arrives is dropped; ``never``: it queues."""


@dataclass(frozen=True)
class ModelEntry:
    """One model of a group.

    Attributes:
        name: unique in its group.
        path: the file.
        is_profile: the file is a profile, which needs no device; else it is an ONNX model.
    """

    name: str
    path: Path
    is_profile: bool


@dataclass(frozen=True)
class Group:
    """Models that share one synchronised input.

    Attributes:
        name: unique in the scenario.
        models: what is requested together.
        period_s: between two requests, before the period multiplier.
        deadline_s: from a request's arrival, before the period multiplier.
        jitter_s: each arrival is late by a uniform draw from 0 to this; the period multiplier does not scale it.
        weight: of the group's models in the scenario's score.
        allowed_drop_share: more of its frames may not be dropped, whatever the score; None for no such limit.
    """

    name: str
    models: tuple[ModelEntry, ...]
    period_s: float
    deadline_s: float
    jitter_s: float = 0.0
    weight: float = 1.0
    allowed_drop_share: float | None = None


@dataclass(frozen=True)
class Scenario:
    """The models that run side by side, and their periods.

    Attributes:
        groups: at least one.
        drop: what happens to frames that come too late to begin.
        accelerator: the device of the NPU Only baseline; None for the one that runs its layers in the least time.
    """

    groups: tuple[Group, ...]
    drop: DropRule = "late"
    accelerator: str | None = None

    @property
    def model_names(self) -> tuple[str, ...]:
        """Return ``group/model`` of every model, in the order of the file."""
        return tuple(f"{group.name}/{entry.name}" for group in self.groups for entry in group.models)
