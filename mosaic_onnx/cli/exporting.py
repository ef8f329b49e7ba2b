"""The commands that write a model for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("export")(export)
    app.command("annotate")(annotate)


def export(
    bundle: opt.BundleFolder,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="MODEL.onnx", help="The file, or with --slices the folder.")
    ],
    slices: Annotated[
        bool, typer.Option("--slices", help="A file a slice, with runners in Python and C++ of 50 lines.")
    ] = False,
    keep_tags: Annotated[
        bool, typer.Option("--keep-tags", help="Keep what says where slices run; needs IR version 11.")
    ] = False,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write the partitioned model as one file that ONNX Runtime alone runs."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"reading {bundle}")
    from mosaic_onnx import api

    done = api.export(bundle, output, slices=slices, keep_tags=keep_tags, force=force)
    reporter.result(str(output))
    reporter.note(f"IR version {done.ir_version}, runs in ONNX Runtime {done.least_runtime} and later")
    reporter.emit(
        "mosaic-onnx/exported/1",
        {
            "files": [str(path) for path in done.files],
            "ir_version": done.ir_version,
            "least_onnxruntime": done.least_runtime,
        },
    )


def annotate(
    model: opt.Model,
    profile_file: Annotated[
        Path, typer.Option("--profile", metavar="PROFILE.json", help="What the plan was made from.")
    ],
    plan_file: Annotated[Path, typer.Option("--plan", metavar="PLAN.json", help="The plan.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL.onnx", help="The annotated model.")],
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Tag a model's nodes with a plan's devices for stock ONNX Runtime, and print the session option that uses them."""
    from mosaic_onnx import api

    reporter = Reporter(json=as_json, quiet=quiet)
    done = api.annotate(model, api.load_profile(profile_file), api.load_plan(plan_file), output, force=force)
    reporter.note(f"wrote {', '.join(str(file) for file in done.files)}; set the session option {done.key} to:")
    reporter.result(done.settings)
    reporter.emit(
        "mosaic-onnx/annotated/1",
        {"files": [str(file) for file in done.files], "key": done.key, "settings": done.settings},
    )
