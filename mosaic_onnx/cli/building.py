"""Commands that look, measure, plan and compile."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.parse import parse_caps, parse_rules, parse_shapes, split_words

if TYPE_CHECKING:
    from mosaic_onnx.core.constraints import Constraints
    from mosaic_onnx.planner.core.request import Request


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    for command in (devices, inspect, profile, plan, compile_model):
        app.command("compile" if command is compile_model else command.__name__)(command)


def read_constraints(
    memory: list[str] | None, slice_memory: list[str] | None, pin: list[str] | None, forbid: list[str] | None
) -> Constraints:
    """Return the four constraint flags as one value."""
    from mosaic_onnx.core.constraints import Constraints

    return Constraints(
        pins=parse_rules(pin or (), "--pin"),
        forbids=parse_rules(forbid or (), "--forbid"),
        memory_bytes=parse_caps(memory or (), "--memory"),
        slice_memory_bytes=parse_caps(slice_memory or (), "--slice-memory"),
    )


def devices(
    device_words: opt.Devices = None,
    write: Annotated[Path | None, typer.Option("--write", metavar="FILE.toml", help="Write what is here.")] = None,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """List the devices that are here, and why others are not."""
    from mosaic_onnx import api
    from mosaic_onnx.cli.tables import absent_table, device_table
    from mosaic_onnx.files.device_file import write_devices

    reporter = Reporter(json=as_json, quiet=quiet)
    found = api.find_devices(split_words(device_words or ()))
    if write is not None:
        write_devices(found.devices, write, force=force)
        reporter.note(f"wrote {write}")
    reporter.show(device_table(found))
    if found.absent:
        reporter.show(absent_table(found))
    for device in found.devices:
        reporter.result(device.name)
    reporter.emit(
        "mosaic-onnx/device-list/1",
        {
            "devices": [dataclasses.asdict(device) for device in found.devices],
            "default": [device.name for device in found.chosen],
            "absent": [dataclasses.asdict(absent) for absent in found.absent],
        },
    )


def inspect(
    model: opt.Model,
    device_words: opt.Devices = None,
    input_shape: opt.InputShape = None,
    granularity: opt.Granularity = opt.GranularityWord.fused,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Show layers, the tensors that cross each boundary, and which device can run which layer (and why not)."""
    from mosaic_onnx import api
    from mosaic_onnx.cli.tables import inspection_table

    reporter = Reporter(json=as_json, quiet=quiet)
    seen = api.inspect(
        model,
        devices=split_words(device_words or ()),
        input_shapes=parse_shapes(input_shape or ()),
        granularity=granularity.value,
    )
    for note in seen.notes:
        reporter.note(f"note: {note}")
    reporter.show(inspection_table(seen))
    reporter.result(f"{len(seen.graph.layers)} layers, {len(seen.devices)} devices")
    reporter.emit("mosaic-onnx/inspection/1", seen.as_fields())


def profile(
    model: opt.Model,
    output: opt.Output = None,
    device_words: opt.Devices = None,
    input_shape: opt.InputShape = None,
    inputs: opt.Inputs = None,
    seed: opt.Seed = 0,
    granularity: opt.Granularity = opt.GranularityWord.fused,
    no_cache: opt.NoCache = False,
    dry_run: opt.DryRun = False,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Measure every layer on every device; Ctrl-C keeps what was measured."""
    from mosaic_onnx import api
    from mosaic_onnx.cli.tables import profile_table
    from mosaic_onnx.files.atomic import refuse_to_replace
    from mosaic_onnx.files.profile_file import profile_to_fields, write_profile

    reporter = Reporter(json=as_json, quiet=quiet, verbose=verbose)
    target = output or model.with_suffix(".profile.json")
    if not dry_run:
        refuse_to_replace(target, force=force)
    with reporter.progress("profile") as progress:
        measured = api.profile(
            model,
            devices=split_words(device_words or ()),
            input_shapes=parse_shapes(input_shape or ()),
            inputs=inputs,
            seed=seed,
            granularity=granularity.value,
            cache=not no_cache,
            progress=progress,
            note=reporter.note,
        )
    reporter.show(profile_table(measured))
    if not dry_run:
        write_profile(measured, target)
        reporter.result(str(target))
    reporter.emit("mosaic-onnx/profiled/1", {"file": None if dry_run else str(target), **profile_to_fields(measured)})


def plan(
    profile_files: opt.ProfileFiles,
    output: opt.Output = None,
    objective: opt.PlanObjective = opt.PlanObjectiveWord.latency,
    schedule: opt.Schedule = opt.ScheduleWord.sequential,
    method: opt.Method = "auto",
    time_limit: opt.TimeLimit = 10.0,
    deadline_ms: opt.Deadline = None,
    energy_mj: opt.Budget = None,
    max_error: opt.MaxError = None,
    one_slice_per_device: opt.OneSlice = False,
    memory: opt.Memory = None,
    slice_memory: opt.SliceMemory = None,
    pin: opt.Pin = None,
    forbid: opt.Forbid = None,
    min_slices: opt.MinSlices = 0,
    seed: opt.Seed = 0,
    pareto: Annotated[bool, typer.Option("--pareto", help="The whole front of latency and energy.")] = False,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Plan from a profile, with no device at hand; several profiles are planned together, for one makespan."""
    from mosaic_onnx import api
    from mosaic_onnx.cli.scheduling import plan_jointly
    from mosaic_onnx.cli.tables import pareto_table, plan_line, plan_table
    from mosaic_onnx.files.atomic import refuse_to_replace
    from mosaic_onnx.files.plan_file import plan_to_fields, write_plan
    from mosaic_onnx.files.profile_file import read_profile

    reporter = Reporter(json=as_json, quiet=quiet)
    sum_latency = objective is opt.PlanObjectiveWord.sum_latency
    request = _request(
        opt.ObjectiveWord.latency if sum_latency else opt.ObjectiveWord(objective.value),
        schedule,
        method,
        time_limit,
        deadline_ms,
        energy_mj,
        seed,
        min_slices,
        max_error,
        one_slice_per_device=one_slice_per_device,
    )
    constraints = read_constraints(memory, slice_memory, pin, forbid)
    if output is not None:
        refuse_to_replace(output, force=force)
    if len(profile_files) > 1 or sum_latency:
        plan_jointly(reporter, profile_files, request, constraints, output, sum_latency=sum_latency, pareto=pareto)
        return
    measured = read_profile(profile_files[0])
    if pareto:
        front = api.plan_front(measured, request, constraints)
        reporter.show(pareto_table(front))
        for one in front:
            reporter.result(plan_line(one))
        reporter.emit("mosaic-onnx/front/1", {"plans": [plan_to_fields(one) for one in front]})
        return
    planned = api.plan(measured, request, constraints)
    reporter.show(plan_table(measured, planned))
    if output is not None:
        write_plan(planned, output)
    reporter.result(plan_line(planned))
    fields = plan_to_fields(planned)
    reporter.emit(str(fields.pop("schema")), fields)


def compile_model(
    model: opt.Model,
    output: opt.Output = None,
    device_words: opt.Devices = None,
    objective: opt.Objective = opt.ObjectiveWord.latency,
    schedule: opt.Schedule = opt.ScheduleWord.sequential,
    method: opt.Method = "auto",
    time_limit: opt.TimeLimit = 10.0,
    deadline_ms: opt.Deadline = None,
    energy_mj: opt.Budget = None,
    max_error: opt.MaxError = None,
    samples: opt.Samples = None,
    memory: opt.Memory = None,
    slice_memory: opt.SliceMemory = None,
    input_shape: opt.InputShape = None,
    inputs: opt.Inputs = None,
    seed: opt.Seed = 0,
    pin: opt.Pin = None,
    forbid: opt.Forbid = None,
    min_slices: opt.MinSlices = 0,
    no_fallback: opt.NoFallback = False,
    granularity: opt.Granularity = opt.GranularityWord.fused,
    no_cache: opt.NoCache = False,
    dry_run: opt.DryRun = False,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Profile, plan, partition, measure and prove a model; write MODEL.mosaic/."""
    from mosaic_onnx import api
    from mosaic_onnx.cli.report import compiled_fields, compiled_tables
    from mosaic_onnx.files.bundle import refuse_target
    from mosaic_onnx.files.cache import Cache
    from mosaic_onnx.pipeline.delivery import deliver
    from mosaic_onnx.pipeline.preparation import Recipe

    reporter = Reporter(json=as_json, quiet=quiet, verbose=verbose)
    recipe = Recipe(
        request=_request(objective, schedule, method, time_limit, deadline_ms, energy_mj, seed, min_slices, max_error),
        constraints=read_constraints(memory, slice_memory, pin, forbid),
        input_shapes=parse_shapes(input_shape or ()),
        inputs=inputs,
        seed=seed,
        granularity=granularity.value,
        fallback=not no_fallback,
        cache=None if no_cache else Cache(),
        samples=samples,
    )
    folder = api.bundle_folder(model, output)
    if not dry_run:
        refuse_target(folder, force=force)
    selection = api.find_devices(split_words(device_words or ()), lower=max_error is not None)
    with reporter.progress("compile") as progress:
        compiled = api.compile_checked(model, selection, recipe, progress, reporter.note)
    reporter.show(*compiled_tables(compiled))
    if dry_run:
        reporter.note(f"dry run: {folder} was not written")
    else:
        deliver(compiled, recipe, folder, force=force)
        reporter.result(str(folder))
    reporter.emit("mosaic-onnx/compiled/1", {"folder": None if dry_run else str(folder), **compiled_fields(compiled)})


def _request(
    objective: opt.ObjectiveWord,
    schedule: opt.ScheduleWord,
    method: str,
    time_limit_s: float,
    deadline_ms: float | None,
    energy_mj: float | None,
    seed: int,
    min_slices: int,
    max_error: float | None,
    **more: bool,
) -> Request:
    """Return the planner's request in its own units."""
    from mosaic_onnx.planner.core.request import Request

    return Request(
        objective=objective.value,
        schedule=schedule.value,
        method=method,
        deadline_s=None if deadline_ms is None else deadline_ms / 1e3,
        budget_j=None if energy_mj is None else energy_mj / 1e3,
        time_limit_s=time_limit_s,
        seed=seed,
        min_slice_count=min_slices,
        max_error=max_error,
        **more,
    )
