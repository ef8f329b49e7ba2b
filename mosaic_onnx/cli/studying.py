"""Commands that compare plans, read other tools' profiles and reproduce the paper."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.parse import split_words

if TYPE_CHECKING:
    from mosaic_onnx.reproduce.puzzle.run import Measured


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("diff")(diff)
    app.command("import")(import_profile)
    app.command("reproduce")(reproduce)


PAPERS = ("mosaic", "puzzle", "flowoptimizer")
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN.json", help="A plan.")]


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
    from mosaic_onnx.cli.views.explanations import diff_tables
    from mosaic_onnx.cli.views.tables import milliseconds

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
    from mosaic_onnx.cli.views.tables import profile_table
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
    paper: Annotated[str, typer.Argument(metavar="PAPER", help="mosaic, puzzle or flowoptimizer")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the report goes.")] = Path(
        "report"
    ),
    reduced: Annotated[bool, typer.Option("--reduced", help="Fewer workloads and random plans: for a look.")] = False,
    device_words: opt.OwnDevices = None,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Reproduce a paper's evaluation on simulated devices (puzzle: or on -d): tables, plots, theirs beside ours."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"reproducing {paper}")
    from mosaic_onnx.core.errors import UsageError
    from mosaic_onnx.core.text.suggestions import did_you_mean
    from mosaic_onnx.files.atomic import refuse_to_replace
    from mosaic_onnx.reproduce.run import reproduce as reproduce_mosaic

    paper = paper.lower()
    if paper not in PAPERS:
        raise UsageError(f"there is no paper called '{paper}' here", did_you_mean(paper, PAPERS))
    if device_words and paper != "puzzle":
        raise UsageError(f"-d says nothing of {paper}: it is reproduced on descriptions", "leave it out")
    refuse_to_replace(output, force=force)
    if paper == "puzzle":
        from mosaic_onnx.reproduce.puzzle.run import reproduce_puzzle

        measured = _measured_networks(split_words(device_words or ()), reporter) if device_words else None
        compared = reproduce_puzzle(output, reduced=reduced, measured=measured, note=reporter.note)
        reporter.result(str(output))
        reporter.emit("mosaic-onnx/puzzle-reproduction/1", {"folder": str(output), **compared.as_fields()})
        return
    if paper == "flowoptimizer":
        from mosaic_onnx.reproduce.flowoptimizer.run import reproduce_flowoptimizer

        searched = reproduce_flowoptimizer(output, reduced=reduced, note=reporter.note)
        reporter.result(str(output))
        reporter.emit("mosaic-onnx/flowoptimizer-reproduction/1", {"folder": str(output), **searched.as_fields()})
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


def _measured_networks(words: tuple[str, ...], reporter: Reporter) -> Measured:
    """Return the profiles of the puzzle's networks, measured on devices."""
    import tempfile

    import onnx

    from mosaic_onnx import api
    from mosaic_onnx.reproduce.puzzle.random_scenarios import NETWORKS
    from mosaic_onnx.reproduce.puzzle.run import Measured
    from mosaic_onnx.zoo import build

    profiles = {}
    with tempfile.TemporaryDirectory(prefix="mosaic-") as folder:
        for name in NETWORKS:
            path = Path(folder) / f"{name}.onnx"
            onnx.save(build(name), path)
            profiles[name] = api.profile(path, devices=words, note=reporter.note)
            path.unlink()
            reporter.note(f"{name}: {len(profiles[name].layers)} layers measured")
    devices = next(iter(profiles.values())).devices
    return Measured(", ".join(device.name for device in devices), profiles)


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
