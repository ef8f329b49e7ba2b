"""Commands that are the pipeline, or a part of it: inspect, profile, plan and compile."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.parse import parse_effort, parse_numbers, split_words
from mosaic_onnx.cli.pass_flags import takes
from mosaic_onnx.pipeline.pipelines import COMPILE, INSPECT, PLAN, PROFILE

SUM_LATENCY = "sum-latency"
"""An objective of plans from several profiles."""


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    for command in (inspect, profile, plan, compile_model):
        app.command("compile" if command is compile_model else command.__name__)(command)


@takes(INSPECT)
def inspect(
    model: opt.Model,
    options: Mapping[str, Any],
    device_words: opt.Devices = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Show a model or bundle: inputs, outputs, work, layers, and which device can run which layer (and why not)."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"reading {model}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.views.inspection import inspection_line, inspection_table, signature_table

    seen = api.inspect(model, devices=split_words(device_words or ()), **options)
    for note in seen.notes:
        reporter.note(f"note: {note}")
    reporter.show(signature_table(seen), inspection_table(seen))
    reporter.result(inspection_line(seen))
    reporter.emit("mosaic-onnx/inspection/1", seen.as_fields())


@takes(PROFILE, but=("samples",))
def profile(
    model: opt.Model,
    options: Mapping[str, Any],
    output: opt.Output = None,
    device_words: opt.Devices = None,
    effort: opt.Effort = None,
    time_budget: opt.TimeBudget = None,
    no_cache: opt.NoCache = False,
    dry_run: opt.DryRun = False,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Measure every layer on every device; Ctrl-C keeps what was measured."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"profiling {model}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.terminal.progress import PROFILE_STAGES
    from mosaic_onnx.cli.views.tables import profile_table
    from mosaic_onnx.files.atomic import refuse_to_replace
    from mosaic_onnx.files.profile_file import profile_to_fields

    target = output or model.with_suffix(".profile.json")
    if not dry_run:
        refuse_to_replace(target, force=force)
    with reporter.progress(PROFILE_STAGES, effort) as progress:
        measured = api.profile(
            model,
            devices=split_words(device_words or ()),
            cache=not no_cache,
            progress=progress,
            note=reporter.note,
            **parse_effort(effort, time_budget),
            **options,
        )
    reporter.show(profile_table(measured))
    if not dry_run:
        api.write_profile(measured, target)
        reporter.result(str(target))
    reporter.emit("mosaic-onnx/profiled/1", {"file": None if dry_run else str(target), **profile_to_fields(measured)})


@takes(PLAN, more={"objective": (SUM_LATENCY,)})
def plan(
    profile_files: opt.ProfileFiles,
    options: Mapping[str, Any],
    output: opt.Output = None,
    pareto: Annotated[bool, typer.Option("--pareto", help="The whole front of latency and energy.")] = False,
    shapes: Annotated[
        str | None,
        typer.Option(
            "--shapes",
            metavar="W1,W2,…",
            help="The profiles are shapes of one model, each run so often: one placement for all.",
        ),
    ] = None,
    what_ifs: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="CHANGE",
            help="Plan for a changed machine too: 'npu×2', 'link×0.5', 'npu+Resize', several joined by commas; repeat.",
        ),
    ] = None,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Plan from a profile, with no device at hand; several profiles are planned together, for one makespan."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"planning {', '.join(map(str, profile_files))}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.scheduling import plan_jointly
    from mosaic_onnx.cli.views.explanations import show_what_ifs
    from mosaic_onnx.cli.views.tables import milliseconds, pareto_table, plan_line, plan_table, singles_table
    from mosaic_onnx.core.errors import UsageError
    from mosaic_onnx.files.atomic import refuse_to_replace
    from mosaic_onnx.files.plan_file import plan_to_fields

    request, constraints = options["request"], options["constraints"]
    sum_latency = request.objective == SUM_LATENCY
    if sum_latency:
        request = dataclasses.replace(request, objective="latency")
    if output is not None:
        refuse_to_replace(output, force=force)
    if shapes and sum_latency:
        raise UsageError("--shapes plans one model, sum-latency several", "leave one of them out")
    measured = api.mix_shapes(profile_files, parse_numbers(shapes, "--shapes")) if shapes else None
    if what_ifs and ((measured is None and len(profile_files) > 1) or sum_latency or pareto or output is not None):
        raise UsageError("--what-if takes one profile, and neither --pareto nor -o", "plan the profile alone for that")
    if measured is None and (len(profile_files) > 1 or sum_latency):
        plan_jointly(reporter, profile_files, request, constraints, output, sum_latency=sum_latency, pareto=pareto)
        return
    if measured is None:
        measured = api.load_profile(profile_files[0])
    if pareto:
        front = api.plan_front(measured, request, constraints)
        reporter.show(pareto_table(front))
        for one in front:
            reporter.result(plan_line(one))
        if output is not None:
            api.write_front(front, output)
        reporter.emit("mosaic-onnx/front/1", {"plans": [plan_to_fields(one) for one in front]})
        return
    if what_ifs:
        show_what_ifs(reporter, api.what_if(measured, what_ifs, request, constraints), request.objective)
        return
    planned = api.plan(measured, request, constraints)
    reporter.show(plan_table(measured, planned))
    singles = api.single_devices(measured, planned, constraints)
    if singles:
        reporter.show(singles_table(planned, singles))
    if output is not None:
        api.write_plan(planned, output)
    for file in profile_files if shapes else ():
        alone = api.plan_in_profile(api.load_profile(file), planned, constraints)
        reporter.note(f"{file}: {milliseconds(alone.predicted.seconds)}")
    notes = planned.meta.get("notes")
    for note in notes if isinstance(notes, list) else ():
        reporter.note(str(note))
    reporter.result(plan_line(planned))
    fields = plan_to_fields(planned)
    reporter.emit(str(fields.pop("schema")), fields)


@takes(COMPILE)
def compile_model(
    model: opt.Model,
    options: Mapping[str, Any],
    output: opt.Output = None,
    device_words: opt.Devices = None,
    passes: opt.OutsidePasses = None,
    profile_file: Annotated[
        Path | None,
        typer.Option("--profile", metavar="PROFILE.json", help="Take layer costs from a file; do not measure layers."),
    ] = None,
    plan_file: Annotated[
        Path | None,
        typer.Option("--plan", metavar="PLAN.json", help="Deliver this plan; with --profile, nothing is measured."),
    ] = None,
    effort: opt.Effort = None,
    time_budget: opt.TimeBudget = None,
    no_cache: opt.NoCache = False,
    dry_run: opt.DryRun = False,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Profile, plan, partition, measure and prove a model; write MODEL.mosaic/."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"compiling {model}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.terminal.progress import COMPILE_STAGES, WITHIN_BUDGET
    from mosaic_onnx.cli.views.headline import headline
    from mosaic_onnx.cli.views.report import compiled_fields, compiled_tables

    folder = api.bundle_folder(model, output) if dry_run else api.free_bundle_folder(model, output, force=force)
    within = options["request"].max_error is not None
    with reporter.progress(WITHIN_BUDGET if within else COMPILE_STAGES, effort) as progress:
        done = api.compile_unwritten(
            model,
            devices=split_words(device_words or ()),
            cache=not no_cache,
            progress=progress,
            note=reporter.note,
            passes=split_words(passes or ()),
            given_profile=profile_file,
            given_plan=plan_file,
            **parse_effort(effort, time_budget),
            **options,
        )
    for one in (done, *done.shapes):
        reporter.show(*compiled_tables(one))
        reporter.note(f"{model.name}: {headline(one)}")
    if dry_run:
        reporter.note(f"dry run: {folder} was not written")
    else:
        api.write(done, folder, force=force)
        reporter.result(str(folder))
    reporter.emit("mosaic-onnx/compiled/1", {"folder": None if dry_run else str(folder), **compiled_fields(done)})
