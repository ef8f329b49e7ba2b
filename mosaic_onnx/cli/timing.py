"""The command that times a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.parse import split_words

if TYPE_CHECKING:
    from rich.table import Table

    from mosaic_onnx.pipeline.benchmarking import Benchmark
    from mosaic_onnx.pipeline.throughput_benchmark import ThroughputBenchmark


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("bench")(bench)


def bench(
    bundle: opt.BundleFolder,
    inputs: opt.Inputs = None,
    seed: opt.Seed = 0,
    iterations: Annotated[int, typer.Option("--iterations", min=1, help="Timed runs.")] = 100,
    warmup: Annotated[int, typer.Option("--warmup", min=0, help="Runs before those.")] = 10,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", metavar="FILE.json", help="Write runs for ui.perfetto.dev, a lane a device."),
    ] = None,
    throughput: Annotated[
        bool,
        typer.Option("--throughput", help="Requests a second at rising load, and what could run instead."),
    ] = False,
    force: opt.Force = False,
    device_words: opt.OwnDevices = None,
    trust: opt.Trust = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Time a bundle: latency percentiles, throughput, each slice measured beside predicted."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"loading {bundle}")
    from mosaic_onnx import api
    from mosaic_onnx.files.atomic import refuse_to_replace

    if throughput:
        words = split_words(device_words or ())
        _show_rates(reporter, api.bench_throughput(bundle, inputs=inputs, seed=seed, devices=words, trust=trust))
        return
    if trace is not None:
        refuse_to_replace(trace, force=force)
    done = api.bench(
        bundle,
        inputs=inputs,
        seed=seed,
        iterations=iterations,
        warmup=warmup,
        devices=split_words(device_words or ()),
        trust=trust,
    )
    if trace is not None:
        done.write_trace(trace)
        reporter.note(f"wrote {len(done.traces)} runs to {trace}: open it in ui.perfetto.dev")
    reporter.show(*_tables(done))
    if done.simulated:
        reporter.note(f"simulated: {', '.join(done.simulated)} (they wait for as long as they are described to take)")
    reporter.result(_summary(done))
    reporter.emit("mosaic-onnx/bench/1", {"trace": None if trace is None else str(trace), **done.as_fields()})


def _show_rates(reporter: Reporter, done: ThroughputBenchmark) -> None:
    from mosaic_onnx.cli.views.tables import milliseconds, table

    rows = [
        (
            str(one.outstanding_count),
            f"{one.requests_per_second:.4g}",
            f"{one.requests_per_second / done.predicted_per_second:.3f}",
            milliseconds(one.latency_percentile_s(50)),
            milliseconds(one.latency_percentile_s(99)),
        )
        for one in done.rates
    ]
    best = done.best.requests_per_second
    others = [(name, f"{rate:.4g}", f"{best / rate:.3f}") for name, rate in done.others.items()]
    others += [(name, "–", reason) for name, reason in done.missing.items()]
    columns = ("outstanding", "requests/s", "measured / predicted", "p50", "p99")
    reporter.show(table("requests a second at rising load", columns, rows))
    reporter.show(table("instead", ("what", "requests/s", "bundle's best / its"), others))
    reporter.result(f"throughput: {best:.4g} requests/s, predicted {done.predicted_per_second:.4g}")
    reporter.emit("mosaic-onnx/throughput/1", done.as_fields())


def _summary(done: Benchmark) -> str:
    from mosaic_onnx.cli.views.tables import milliseconds
    from mosaic_onnx.pipeline.benchmarking import PERCENTILES

    figures = [f"min {milliseconds(min(done.seconds))}"]
    figures += [f"p{percent} {milliseconds(done.percentile_s(percent))}" for percent in PERCENTILES]
    median_s = done.percentile_s(50)
    error = f" ({done.predicted_s / median_s - 1:+.1%})" if median_s else ""
    figures.append(f"predicted {milliseconds(done.predicted_s)}{error}")
    return f"latency: {', '.join(figures)}; {done.runs_per_second:.4g} runs/s, {len(done.seconds)} iterations"


def _tables(done: Benchmark) -> list[Table]:
    """Return tables of slices and of transfers, if there are any."""
    from mosaic_onnx.cli.views.tables import MANY, megabytes, milliseconds, table

    slices = [
        (
            str(number),
            f"{one.state} (simulated)" if one.state.partition("@")[0] in done.simulated else one.state,
            str(one.layer_count),
            milliseconds(one.predicted_s),
            milliseconds(one.measured_s),
            _error(one.predicted_s, one.measured_s),
        )
        for number, one in enumerate(done.slices)
    ]
    columns = ("slice", "device", "layers", "predicted", "measured median", "predicted off by")
    made = [table(f"slices, {len(done.traces)} watched runs", columns, slices, most=MANY)]
    transfers = [
        (
            one.tensor,
            megabytes(one.bytes),
            milliseconds(one.predicted_s),
            milliseconds(one.measured_s),
            _error(one.predicted_s, one.measured_s),
        )
        for one in done.transfers
    ]
    if transfers:
        made.append(table("transfers", ("tensor", "bytes", *columns[3:]), transfers, most=MANY))
    return made


def _error(predicted_s: float, measured_s: float) -> str:
    return f"{predicted_s / measured_s - 1:+.1%}" if measured_s else "–"
