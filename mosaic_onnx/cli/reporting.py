"""Commands that show a plan and say why it is as it is: of a bundle, a plan's file, or a profile."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.parse import split_words

if TYPE_CHECKING:
    from rich.table import Table


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    for command in (show, explain, report):
        app.command()(command)


Source = Annotated[
    Path,
    typer.Argument(
        metavar="BUNDLE|PLAN|PROFILE", help="What compile, plan or profile wrote; a profile is planned for latency."
    ),
]
ProfileOfPlan = Annotated[
    Path | None,
    typer.Option("--profile", metavar="PROFILE.json", help="Of a plan's file. Default: profile.json beside the plan."),
]


def show(
    source: Source, profile_file: ProfileOfPlan = None, as_json: opt.Json = False, quiet: opt.Quiet = False
) -> None:
    """Show a plan: its slices, its transfers, and what could run instead."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"reading {source}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.views.plan_views import candidate_table, transfer_table
    from mosaic_onnx.cli.views.tables import plan_line, plan_table
    from mosaic_onnx.files.plan_file import plan_to_fields

    subject = api.read_subject(source, profile_file)
    alone = api.single_devices(subject.profile, subject.plan)
    _show_filled(reporter, plan_table(subject.profile, subject.plan), "no slices")
    _show_filled(reporter, transfer_table(subject.plan), "no transfers: every slice finds its tensors where it runs")
    _show_filled(reporter, candidate_table(subject, alone), "no device runs the whole model alone")
    reporter.result(plan_line(subject.plan))
    measured = None if subject.measured is None else dataclasses.asdict(subject.measured)
    reporter.emit("mosaic-onnx/shown/1", {"plan": plan_to_fields(subject.plan), "measured": measured})


def explain(
    source: Source,
    plan_file: Annotated[
        Path | None, typer.Argument(metavar="[PLAN.json]", help="A plan of the profile.", show_default=False)
    ] = None,
    layer: Annotated[str | None, typer.Option("--layer", metavar="NAME", help="Explain one layer (or node).")] = None,
    time_limit: opt.TimeLimit = 10.0,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Say why a plan is as it is: boundaries, missing operators, or one layer's costs and moves."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"reading {source}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.views.explanations import layer_tables, plan_tables

    subject = api.read_subject(source) if plan_file is None else api.read_subject(plan_file, source)
    profile, plan = subject.profile, subject.plan
    if layer is not None:
        one = api.explain_layer(profile, plan, layer)
        for made, none in zip(layer_tables(one), ("", "it causes no transfers"), strict=True):
            _show_filled(reporter, made, none)
        reporter.result(f"{one.name} runs on {one.state}, in slice {one.slice_number}")
        reporter.emit("mosaic-onnx/explanation/1", {"layer": dataclasses.asdict(one)})
        return
    whole = api.explain_plan(profile, plan, time_limit)
    missing = ("", "no boundaries: nothing is copied between slices", "no device lacks an operator that would help")
    for made, none in zip(plan_tables(whole), missing, strict=True):
        _show_filled(reporter, made, none)
    for lift in whole.lifts:
        reporter.result(f"if {lift.device} ran {lift.operator}: {lift.seconds * 1e3:+.4g} ms")
    reporter.emit("mosaic-onnx/explanation/1", {"plan": dataclasses.asdict(whole)})


def report(
    source: Source,
    profile_file: ProfileOfPlan = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.html", help="Where the page goes.")] = Path(
        "report.html"
    ),
    measure: Annotated[
        bool, typer.Option("--measure", help="Run the bundle here, and draw a measured run beside the predicted one.")
    ] = False,
    time_limit: opt.TimeLimit = 10.0,
    force: opt.Force = False,
    device_words: opt.OwnDevices = None,
    trust: opt.Trust = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write a plan as one page to look at: graph, timeline, layers, transfers, memory, what would help."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"reading {source}")
    from mosaic_onnx import api

    written = api.report(
        source,
        output,
        profile=profile_file,
        measure=measure,
        time_limit_s=time_limit,
        force=force,
        devices=split_words(device_words or ()),
        trust=trust,
    )
    reporter.note(f"{written.headline.first}: open it in a browser; it needs no network")
    reporter.result(str(output))
    fields = {"file": str(output), "headline": written.headline.first, "ground": written.headline.second}
    reporter.emit("mosaic-onnx/page/1", fields)


def _show_filled(reporter: Reporter, made: Table, otherwise: str) -> None:
    """Show a table, or a sentence in place of an empty one."""
    if made.row_count:
        reporter.show(made)
    elif otherwise:
        reporter.note(otherwise)
