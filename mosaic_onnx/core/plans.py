"""The plan: slices that cover every layer once, their states, the transfers, the prediction and the bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Objective = Literal["latency", "energy", "edp", "throughput"]
Schedule = Literal["sequential", "concurrent"]


@dataclass(frozen=True)
class Slice:
    """Consecutive layers that one device runs in one state.

    Attributes:
        layers: indices into the profile's layers, in the order in which the slice runs them.
        state: state name (``device`` or ``device@level``).
        start_s: when its execution starts.
        end_s: when its execution ends.
        nodes: node keys, where the profile has them.
    """

    layers: tuple[int, ...]
    state: str
    start_s: float = 0.0
    end_s: float = 0.0
    nodes: tuple[str, ...] = ()
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Transfer:
    """One tensor crossing a device boundary; ``source`` and ``destination`` are device names or ``host``."""

    tensor: str
    source: str
    destination: str
    bytes: int
    start_s: float = 0.0
    end_s: float = 0.0
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Predicted:
    """The simulator's prediction for a plan; ``joules`` is None where the profile has no energy."""

    seconds: float
    joules: float | None
    interval_seconds: float
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Bound:
    """A proved lower bound of the objective over all plans of that schedule under the constraints."""

    value: float
    unit: Literal["seconds", "joules", "joule_seconds"]
    method: str
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedModel:
    """One of several models that a plan covers together; ``first_layer`` is the index of its first layer."""

    name: str
    first_layer: int
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A plan, with its predicted cost (plan format, version 1)."""

    objective: Objective
    schedule: Schedule
    method: str
    slices: tuple[Slice, ...]
    transfers: tuple[Transfer, ...]
    predicted: Predicted
    bound: Bound | None = None
    gap: float | None = None
    constraints: Mapping[str, object] = field(default_factory=dict)
    meta: Mapping[str, object] = field(default_factory=dict)
    replicas: tuple[str, ...] = ()
    """States that each run all slices besides, for throughput; requests go to whichever is free."""
    models: tuple[PlannedModel, ...] = ()
    """Of a joint plan, the models whose layers it covers, in their order; empty for a plan of one model."""
    is_latency_sum: bool = False
    """The objective is the sum of the models' latencies; ``objective`` says ``latency`` then."""

    def on(self, state: str) -> Plan:
        """Return the plan with all its slices in one state, and no replicas."""
        slices = tuple(replace(one, state=state) for one in self.slices)
        return replace(self, slices=slices, replicas=())
