"""The plan's JSON form (``mosaic-onnx/plan/1``): read strictly; equal plans give equal bytes."""

# ruff: noqa: RUF012 (pydantic gives every object its own copy of a mutable default)

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from mosaic_onnx.core.errors import ModelError
from mosaic_onnx.core.plans import Bound, Objective, Plan, Predicted, Schedule, Slice, Transfer
from mosaic_onnx.files.atomic import write_atomically
from mosaic_onnx.files.strict_json import ByteCount, FileModel, Index, Name, NonNegative, dump_lines, parse, read

SCHEMA = "mosaic-onnx/plan/1"


class _Slice(FileModel):
    layers: list[Index] = Field(min_length=1)
    state: Name
    start_s: NonNegative = 0.0
    end_s: NonNegative = 0.0
    nodes: list[str] = []


class _Transfer(FileModel):
    tensor: Name
    source: Name = Field(alias="from")
    destination: Name = Field(alias="to")
    bytes: ByteCount
    start_s: NonNegative = 0.0
    end_s: NonNegative = 0.0


class _Predicted(FileModel):
    seconds: NonNegative
    joules: NonNegative | None = None
    interval_seconds: NonNegative


class _Bound(FileModel):
    value: NonNegative
    unit: Literal["seconds", "joules", "joule_seconds"]
    method: str


class _File(FileModel):
    schema_: Literal["mosaic-onnx/plan/1"] = Field(alias="schema")
    objective: Objective
    schedule: Schedule
    method: str
    constraints: dict[str, Any] = {}
    slices: list[_Slice]
    transfers: list[_Transfer] = []
    predicted: _Predicted
    bound: _Bound | None = None
    gap: NonNegative | None = None


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


def plan_from_json(text: str, what: str = "plan") -> Plan:
    """The plan in a JSON text; ``what`` is what errors call it.

    Raises:
        ModelError: naming the path of the key that is wrong.
    """
    file = parse(text, _File, SCHEMA, what)
    _check_cover(file.slices, what)
    return Plan(
        objective=file.objective,
        schedule=file.schedule,
        method=file.method,
        constraints=file.constraints,
        slices=tuple(
            Slice(tuple(item.layers), item.state, item.start_s, item.end_s, tuple(item.nodes), item.meta)
            for item in file.slices
        ),
        transfers=tuple(Transfer(**dict(transfer)) for transfer in file.transfers),
        predicted=Predicted(**dict(file.predicted)),
        bound=None if file.bound is None else Bound(**dict(file.bound)),
        gap=file.gap,
        meta=file.meta,
    )


def plan_to_json(plan: Plan) -> str:
    """The JSON text of a plan.

    Raises:
        UsageError: a number is NaN or infinite.
    """
    return dump_lines(plan_to_fields(plan))


def plan_to_fields(plan: Plan) -> dict[str, object]:
    """The JSON object of a plan, as ``plan_to_json`` writes it."""
    content: dict[str, object] = {
        "schema": SCHEMA,
        "objective": plan.objective,
        "schedule": plan.schedule,
        "method": plan.method,
        "constraints": dict(plan.constraints),
        "slices": [_slice_json(item) for item in plan.slices],
        "transfers": [_transfer_json(transfer) for transfer in plan.transfers],
        "predicted": _with_meta(
            plan.predicted.meta,
            seconds=plan.predicted.seconds,
            joules=plan.predicted.joules,
            interval_seconds=plan.predicted.interval_seconds,
        ),
        "bound": None
        if plan.bound is None
        else _with_meta(plan.bound.meta, value=plan.bound.value, unit=plan.bound.unit, method=plan.bound.method),
        "gap": plan.gap,
    }
    return _with_meta(plan.meta, **content)


def _check_cover(slices: list[_Slice], what: str) -> None:
    """Every layer from 0 on stands in one slice."""
    seen: dict[int, str] = {}
    for s, item in enumerate(slices):
        for i, layer in enumerate(item.layers):
            path = f"slices[{s}].layers[{i}]"
            if layer in seen:
                raise ModelError(f"{what}: {path}: layer {layer} is at {seen[layer]} already")
            seen[layer] = path
        if item.end_s < item.start_s:
            raise ModelError(f"{what}: slices[{s}].end_s: {item.end_s} is before start_s, {item.start_s}")
    missing = next((layer for layer in range(len(seen)) if layer not in seen), None)
    if missing is not None:
        raise ModelError(f"{what}: slices: no slice runs layer {missing}")


def _slice_json(item: Slice) -> dict[str, object]:
    content: dict[str, object] = {"layers": list(item.layers), "state": item.state}
    content |= {"start_s": item.start_s, "end_s": item.end_s}
    content |= {"nodes": list(item.nodes)} if item.nodes else {}
    return _with_meta(item.meta, **content)


def _transfer_json(transfer: Transfer) -> dict[str, object]:
    content: dict[str, object] = {"tensor": transfer.tensor, "from": transfer.source, "to": transfer.destination}
    content |= {"bytes": transfer.bytes, "start_s": transfer.start_s, "end_s": transfer.end_s}
    return _with_meta(transfer.meta, **content)


def _with_meta(meta: Mapping[str, object], **content: object) -> dict[str, object]:
    """``content``, and ``meta`` where there is any."""
    return content | ({"meta": dict(meta)} if meta else {})
