"""The plan's JSON form (``mosaic-onnx/plan/1``): read strictly; equal plans give equal bytes."""

# ruff: noqa: RUF012 (pydantic gives every object its own copy of a mutable default)

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from mosaic_onnx.core.devices import device_of
from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.plans import Objective, Plan, Schedule
from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.files.records import ALWAYS, to_entry, to_record
from mosaic_onnx.files.strict_json import ByteCount, FileModel, Index, Name, NonNegative, dump_lines, parse, read

SCHEMA = "mosaic-onnx/plan/1"
FRONT_SCHEMA = "mosaic-onnx/front/1"
LATENCY_SUM = "sum-latency"
"""The objective of a joint plan for the least sum of the models' latencies."""


class _Slice(FileModel):
    layers: list[Index] = Field(min_length=1)
    state: Name
    start_s: Annotated[NonNegative, ALWAYS] = 0.0
    end_s: Annotated[NonNegative, ALWAYS] = 0.0
    nodes: list[str] = []


class _Transfer(FileModel):
    tensor: Name
    source: Name = Field(alias="from")
    destination: Name = Field(alias="to")
    bytes: ByteCount
    start_s: Annotated[NonNegative, ALWAYS] = 0.0
    end_s: Annotated[NonNegative, ALWAYS] = 0.0


class _Predicted(FileModel):
    seconds: NonNegative
    joules: Annotated[NonNegative | None, ALWAYS] = None
    interval_seconds: NonNegative


class _Bound(FileModel):
    value: NonNegative
    unit: Literal["seconds", "joules", "joule_seconds"]
    method: str


class _Model(FileModel):
    name: Name
    first_layer: Index


class _File(FileModel):
    schema_: Literal["mosaic-onnx/plan/1"] = Field(alias="schema")
    objective: Objective | Literal["sum-latency"]
    schedule: Schedule
    method: str
    constraints: Annotated[dict[str, Any], ALWAYS] = {}
    slices: list[_Slice]
    transfers: Annotated[list[_Transfer], ALWAYS] = []
    predicted: _Predicted
    bound: Annotated[_Bound | None, ALWAYS] = None
    gap: Annotated[NonNegative | None, ALWAYS] = None
    replicas: list[Name] = []
    models: list[_Model] = []


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema of a plan file."""
    return _File.model_json_schema(by_alias=True)


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan file.

    Raises:
        ModelError: it is missing or wrong; the message names the path of the key.
    """
    return plan_from_json(*read(path))


def write_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write a plan file atomically; equal plans give equal bytes.

    Raises:
        UsageError: the file cannot be written.
    """
    write_atomically(path, plan_to_json(plan).encode())


def write_front(plans: Iterable[Plan], path: str | os.PathLike[str]) -> None:
    """Write a front of plans atomically: ``{"schema": "mosaic-onnx/front/1", "plans": [...]}``.

    Raises:
        UsageError: the file cannot be written.
    """
    fields = {"schema": FRONT_SCHEMA, "plans": [plan_to_fields(plan) for plan in plans]}
    write_atomically(path, dump_lines(fields).encode())


def plan_from_json(text: str, what: str = "plan") -> Plan:
    """Return the plan in a JSON text; ``what`` is what errors call it.

    Raises:
        ModelError: naming the path of the key that is wrong.
    """
    file = parse(text, _File, SCHEMA, what)
    _check_cover(file.slices, what)
    _check_models(file, what)
    _check_replicas(file.replicas, what)
    is_sum = file.objective == LATENCY_SUM
    plan = to_record(file.model_copy(update={"objective": "latency"}) if is_sum else file, Plan)
    return replace(plan, is_latency_sum=is_sum)


def plan_to_json(plan: Plan) -> str:
    """Return the JSON text of a plan.

    Raises:
        UsageError: a number is NaN or infinite.
    """
    return dump_lines(plan_to_fields(plan))


def plan_to_fields(plan: Plan) -> dict[str, object]:
    """Return the JSON object of a plan, as ``plan_to_json`` writes it."""
    fields = {"schema": SCHEMA} | to_entry(plan, _File)
    return fields | {"objective": LATENCY_SUM} if plan.is_latency_sum else fields


def _check_models(file: _File, what: str) -> None:
    """Raise ``ModelError`` unless the models of a joint plan divide its layers, each with at least one."""
    if file.objective == LATENCY_SUM and not file.models:
        raise ModelError(f"{what}: objective: {LATENCY_SUM} is the objective of a joint plan, which names its models")
    layer_count = sum(len(item.layers) for item in file.slices)
    for m, model in enumerate(file.models):
        least = 0 if m == 0 else file.models[m - 1].first_layer + 1
        if model.first_layer < least or model.first_layer >= layer_count or (m == 0 and model.first_layer):
            expected = "0" if m == 0 else f"from {least} to {layer_count - 1}"
            raise ModelError(f"{what}: models[{m}].first_layer: {model.first_layer}; it must be {expected}")


def _check_replicas(replicas: list[str], what: str) -> None:
    """Raise ``ModelError`` where a device has two replicas: each is loaded, and they are for different devices."""
    seen: dict[str, int] = {}
    for number, state in enumerate(replicas):
        before = seen.setdefault(device_of(state), number)
        if before != number:
            raise ModelError(f"{what}: replicas[{number}]: {state!r} has a replica already, replicas[{before}]")


def _check_cover(slices: list[_Slice], what: str) -> None:
    """Raise ``ModelError`` unless every layer is in exactly one slice, and each slice ends after it starts."""
    seen: dict[int, str] = {}
    for s, item in enumerate(slices):
        for i, layer in enumerate(item.layers):
            path = f"slices[{s}].layers[{i}]"
            if layer in seen:
                raise ModelError(f"{what}: {path}: layer {layer} is already at {seen[layer]}")
            seen[layer] = path
        if item.end_s < item.start_s:
            raise ModelError(f"{what}: slices[{s}].end_s: {item.end_s} is before start_s, {item.start_s}")
    missing = next((layer for layer in range(len(seen)) if layer not in seen), None)
    if missing is not None:
        raise ModelError(f"{what}: slices: no slice runs layer {missing}")
