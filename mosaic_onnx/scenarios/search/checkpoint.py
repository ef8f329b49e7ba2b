"""A search's state as a file (``mosaic-onnx/search/1``), so that it can go on later."""

# ruff: noqa: RUF012 (pydantic gives every object its own copy of a mutable default)

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.files.strict_json import FileModel, Index, Name, NonNegative, dump_lines, parse, read
from mosaic_onnx.planner.core.request import PlacedSlice
from mosaic_onnx.scenarios.instance import Instance
from mosaic_onnx.scenarios.schedule import Policy, Schedule
from mosaic_onnx.scenarios.search.candidates import Candidate
from mosaic_onnx.scenarios.search.genetic import SearchState

SCHEMA = "mosaic-onnx/search/1"


class _Slice(FileModel):
    layers: list[Index] = Field(min_length=1)
    state: Name


class _Schedule(FileModel):
    period_multiplier: NonNegative
    policy: Policy
    late_binding: bool
    priority: list[Index]
    models: list[list[_Slice]]


class _File(FileModel):
    schema_: Literal["mosaic-onnx/search/1"] = Field(alias="schema")
    instance: Name
    seed: Index
    round: Index
    idle: Index
    baselines: dict[str, NonNegative] = {}
    history: list[list[float]] = []
    elite: list[_Schedule] = Field(min_length=1)


def instance_digest(instance: Instance) -> str:
    """Return what tells whether a state belongs to an instance: a digest of its groups and costs."""
    digest = hashlib.sha256(repr(instance.scenario).encode())
    digest.update(repr((instance.unit_names, instance.unit_of_state, instance.slowdown)).encode())
    for model in instance.models:
        table = model.table
        for array in (table.layer_s, table.to_host_s, table.from_host_s, table.memory_bytes, table.slice_memory_bytes):
            digest.update(array.tobytes())
        digest.update(repr((table.state_names, table.layer_inputs, table.layer_outputs)).encode())
        digest.update(repr(sorted(table.segments.items())).encode())
    return digest.hexdigest()


def write_state(path: str | os.PathLike[str], instance: Instance, seed: int, state: SearchState) -> None:
    """Write where a search stands, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    names = instance.table.state_names
    content = {
        "schema": SCHEMA,
        "instance": instance_digest(instance),
        "seed": seed,
        "round": state.round,
        "idle": state.idle,
        "baselines": dict(state.baselines),
        "history": [list(row) for row in state.history],
        "elite": [_schedule_fields(one, names) for one in state.elite],
    }
    write_atomically(path, dump_lines(content).encode())


def read_state(path: str | os.PathLike[str], instance: Instance, seed: int) -> SearchState | None:
    """Read where a search of this instance stood; None where there is no such file.

    Raises:
        ModelError: the file is wrong, or of another scenario, other costs or another seed.
    """
    if not Path(path).exists():
        return None
    text, what = read(path)
    file = parse(text, _File, SCHEMA, what)
    if file.instance != instance_digest(instance) or file.seed != seed:
        raise ModelError(
            f"{what} is of another scenario, other costs or another seed", "name another file, or delete this one"
        )
    states = {name: number for number, name in enumerate(instance.table.state_names)}
    return SearchState(
        elite=tuple(_found(one, states, what) for one in file.elite),
        round=file.round,
        idle=file.idle,
        baselines=file.baselines,
        history=tuple((int(row[0]), row[1]) for row in file.history),
    )


def _schedule_fields(found: Candidate, names: tuple[str, ...]) -> dict[str, object]:
    schedule = found.schedule
    return {
        "period_multiplier": found.multiplier,
        "policy": schedule.policy,
        "late_binding": schedule.late_binding,
        "priority": list(schedule.priority),
        "models": [
            [{"layers": list(placed.layers), "state": names[placed.state]} for placed in proposal]
            for proposal in schedule.proposals
        ],
    }


def _found(one: _Schedule, states: dict[str, int], what: str) -> Candidate:
    try:
        proposals = tuple(tuple(PlacedSlice(tuple(s.layers), states[s.state]) for s in model) for model in one.models)
    except KeyError as error:
        raise ModelError(f"{what}: elite: unknown state {error}") from None
    return Candidate(Schedule(proposals, tuple(one.priority), one.policy, one.late_binding), one.period_multiplier)
