"""Commands that run a bundle and prove it right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.parse import parse_shapes, split_words


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("run")(run)
    app.command("verify")(verify)


def run(
    source: Annotated[Path, typer.Argument(metavar="MODEL.mosaic|MODEL.onnx", help="A bundle, or a plain model.")],
    inputs: opt.Inputs = None,
    random: Annotated[bool, typer.Option("--random", help="Make inputs up from --seed (the default).")] = False,
    seed: opt.Seed = 0,
    iterations: Annotated[int, typer.Option("--iterations", min=1, help="Timed runs.")] = 1,
    warmup: Annotated[
        int | None, typer.Option("--warmup", min=0, help="Runs before those. Default: up to 5, within a second.")
    ] = None,
    input_shape: opt.InputShape = None,
    output: opt.Output = None,
    force: opt.Force = False,
    device_words: opt.OwnDevices = None,
    trust: opt.Trust = False,
    isolated: opt.Isolated = False,
    time_limit: opt.RunLimit = None,
    validate: opt.Validate = False,
    fallback: opt.Fallback = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Run a bundle, or a plain model on one device (-d); outputs to an .npz file with -o."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"loading {source}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.tables import milliseconds, table
    from mosaic_onnx.core.errors import UsageError
    from mosaic_onnx.files.atomic import refuse_to_replace

    if random and inputs is not None:
        raise UsageError("--random and --inputs exclude each other", "give one of them")
    if output is not None:
        refuse_to_replace(output, force=force)
    done = api.run(
        source,
        inputs=inputs,
        seed=seed,
        iterations=iterations,
        warmup=warmup,
        devices=split_words(device_words or ()),
        input_shapes=parse_shapes(input_shape or ()),
        trust=trust,
        options=api.SessionOptions(is_isolated=isolated, time_limit_s=time_limit, validate=validate, fallback=fallback),
    )
    for words, count in done.fallbacks.items():
        reporter.note(f"{count} times: {words}")
    shapes = [
        (name, str(array.dtype), "×".join(map(str, array.shape)) or "scalar") for name, array in done.outputs.items()
    ]
    reporter.show(table("outputs", ("output", "type", "shape"), shapes))
    if output is not None:
        api.write_arrays(done.outputs, output)
        reporter.result(str(output))
    if len(done.seconds) == 1:
        reporter.result(f"latency: {milliseconds(done.median_s)} in one timed run: --iterations times more of them")
    else:
        reporter.result(
            f"latency: median {milliseconds(done.median_s)}, lowest {milliseconds(min(done.seconds))}, "
            f"{len(done.seconds)} iterations"
        )
    reporter.emit(
        "mosaic-onnx/run/1",
        {
            "outputs": {name: {"type": str(a.dtype), "shape": list(a.shape)} for name, a in done.outputs.items()},
            "file": None if output is None else str(output),
            "seconds": list(done.seconds),
            "fallbacks": dict(done.fallbacks),
            "median_s": done.median_s,
        },
    )


def verify(
    bundle: opt.BundleFolder,
    inputs: opt.Inputs = None,
    seed: opt.Seed = 0,
    device_words: opt.OwnDevices = None,
    trust: opt.Trust = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Prove a bundle right: every slice against the original, unoptimised model, and every node where the plan says."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"verifying {bundle}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.report import proof_tables
    from mosaic_onnx.core.errors import OutputsDifferError
    from mosaic_onnx.pipeline.delivery import proof_fields

    report = api.verify(bundle, inputs=inputs, seed=seed, devices=split_words(device_words or ()), trust=trust)
    reporter.show(*proof_tables(report))
    reporter.emit("mosaic-onnx/proof/1", proof_fields(report))
    if not report.passed:
        error = OutputsDifferError(f"{bundle}: {'; '.join(report.failures[:3])}", "compile it again, or report it")
        if not as_json:
            raise error
        reporter.complain(error.message, error.hint)  # the proof is the one object on stdout
        raise typer.Exit(error.exit_code)
    for text in report.explained:
        reporter.note(f"note: {text}")
    reporter.result(f"{bundle}: {len(report.slices)} slices and {len(report.outputs)} outputs are right")
