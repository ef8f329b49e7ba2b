"""Commands that explain plans, read other tools' profiles and reproduce the paper."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("explain")(explain)
    app.command("diff")(diff)
    app.command("import")(import_profile)
    app.command("reproduce")(reproduce)


PAPERS = ("mosaic", "puzzle")
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN.json", help="A plan.")]


def explain(
    profile_file: opt.ProfileFile,
    plan_file: PlanFile,
    layer: Annotated[str | None, typer.Option("--layer", metavar="NAME", help="Explain one layer (or node).")] = None,
    time_limit: opt.TimeLimit = 10.0,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Say why a plan is as it is: boundaries, missing operators, or one layer's costs and moves."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"reading {profile_file}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.explanations import layer_tables, plan_tables

    profile, plan = api.load_profile(profile_file), api.load_plan(plan_file)
    if layer is not None:
        one = api.explain_layer(profile, plan, layer)
        reporter.show(*layer_tables(one))
        reporter.result(f"{one.name} runs on {one.state}, in slice {one.slice_number}")
        reporter.emit("mosaic-onnx/explanation/1", {"layer": dataclasses.asdict(one)})
        return
    whole = api.explain_plan(profile, plan, time_limit)
    reporter.show(*plan_tables(whole))
    for lift in whole.lifts:
        reporter.result(f"if {lift.device} ran {lift.operator}: {lift.seconds * 1e3:+.4g} ms")
    reporter.emit("mosaic-onnx/explanation/1", {"plan": dataclasses.asdict(whole)})


def diff(
    before: PlanFile,
    after: PlanFile,
    profile_file: Annotated[
        Path | None, typer.Option("--profile", metavar="PROFILE.json", help="For the layers' names.")
    ] = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Say what one plan does otherwise than another of the same layers."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"reading {before} and {after}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.explanations import diff_tables
    from mosaic_onnx.cli.tables import milliseconds

    profile = None if profile_file is None else api.load_profile(profile_file)
    found = api.diff_plans(api.load_plan(before), api.load_plan(after), profile)
    reporter.show(*diff_tables(found))
    reporter.result(f"{len(found.moved)} layers moved, {milliseconds(found.seconds)} ({found.bytes:+d} bytes moved)")
    reporter.emit("mosaic-onnx/diff/1", dataclasses.asdict(found))


def import_profile(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="dnn-partitioning, pipedream, tensorrt or onnxruntime.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What the other tool wrote.")],
    output: opt.Output = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="An option of the kind; repeat.")
    ] = None,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Turn a profile that another tool wrote into profile.json."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"reading {file}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.tables import profile_table
    from mosaic_onnx.files.atomic import refuse_to_replace
    from mosaic_onnx.files.profile_file import profile_to_fields

    target = output or file.with_suffix(".profile.json")
    refuse_to_replace(target, force=force)
    imported = api.import_profile(kind, file, **_options(option or []))
    api.write_profile(imported, target)
    reporter.show(profile_table(imported))
    reporter.result(str(target))
    reporter.emit("mosaic-onnx/imported/1", {"file": str(target), "profile": profile_to_fields(imported)})


def reproduce(
    paper: Annotated[str, typer.Argument(metavar="PAPER", help="mosaic or puzzle")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the report goes.")] = Path(
        "report"
    ),
    reduced: Annotated[bool, typer.Option("--reduced", help="Fewer workloads and random plans: for a look.")] = False,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Reproduce a paper's evaluation on the simulated HiKey 970: tables, plots, theirs beside ours."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"reproducing {paper}")
    from mosaic_onnx.core.errors import UsageError
    from mosaic_onnx.core.suggestions import did_you_mean
    from mosaic_onnx.files.atomic import refuse_to_replace
    from mosaic_onnx.reproduce.run import reproduce as reproduce_mosaic

    paper = paper.lower()
    if paper not in PAPERS:
        raise UsageError(f"there is no paper called '{paper}' here", did_you_mean(paper, PAPERS))
    refuse_to_replace(output, force=force)
    if paper == "puzzle":
        from mosaic_onnx.reproduce.puzzle.run import reproduce_puzzle

        compared = reproduce_puzzle(output, reduced=reduced, note=reporter.note)
        reporter.result(str(output))
        reporter.emit("mosaic-onnx/puzzle-reproduction/1", {"folder": str(output), **compared.as_fields()})
        return
    report = reproduce_mosaic(output, quick=reduced)
    reporter.result(str(output))
    for text in report.notes:
        reporter.note(f"note: {text}")
    for verdict in report.verdicts:
        reporter.note(f"{'met' if verdict.met else 'NOT MET'}: {verdict.what} ({verdict.detail})")
    fields = {
        "files": list(report.files),
        "notes": list(report.notes),
        "verdicts": [dataclasses.asdict(each) for each in report.verdicts],
    }
    reporter.emit("mosaic-onnx/reproduction/1", {"folder": str(output), **fields})


def _options(words: list[str]) -> dict[str, object]:
    """Return ``NAME=VALUE`` words; numbers and true/false are read as such.

    Raises:
        UsageError: a word has no equals sign.
    """
    from mosaic_onnx.core.errors import UsageError

    options: dict[str, object] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign:
            raise UsageError(f"--option '{word}' has no value", "write --option NAME=VALUE")
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options
