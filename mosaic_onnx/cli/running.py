"""Commands that run a bundle and prove it right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.parse import parse_shapes, split_words
from mosaic_onnx.cli.scheduling import serve_scenario


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
        int | None, typer.Option("--warmup", min=0, help="Runs before those. Default: 5 or more, for 0.1 to 1 s.")
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
    scenario: Annotated[
        bool, typer.Option("--scenario", help="The source is a site, as schedule -o writes it: serve its models.")
    ] = False,
    seconds: opt.ServedSeconds = 10.0,
    multiplier: opt.ServedMultiplier = 1.0,
    check_every: opt.CheckEvery = 50,
    trace: opt.Trace = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Run a bundle, or a plain model on one device (-d); outputs to an .npz file with -o. With --scenario: a site."""
    reporter = Reporter(json=as_json, quiet=quiet)
    if not scenario:
        reporter.begin(f"loading {source}")
    from mosaic_onnx import api
    from mosaic_onnx.cli.views.tables import milliseconds, table
    from mosaic_onnx.core.errors import UsageError
    from mosaic_onnx.files.atomic import refuse_to_replace

    if scenario:
        _refuse_with_scenario({"--inputs": inputs, "--output": output, "--input-shape": input_shape})
        serve_scenario(
            source,
            seconds=seconds,
            multiplier=multiplier,
            check_every=check_every,
            trace=trace,
            seed=seed,
            device_words=device_words,
            trust=trust,
            isolated=isolated,
            time_limit=time_limit,
            force=force,
            as_json=as_json,
            quiet=quiet,
        )
        return
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


def _refuse_with_scenario(given: Mapping[str, object]) -> None:
    """Refuse options that mean nothing for a site.

    Raises:
        UsageError: one of them was given.
    """
    from mosaic_onnx.core.errors import UsageError

    for flag, value in given.items():
        if value:
            raise UsageError(f"{flag} says nothing of a scenario", "leave it out, or run one model of the site")


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
    from mosaic_onnx.cli.views.report import proof_tables
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
