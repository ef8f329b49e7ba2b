"""``mosaic-onnx npu explore``: sweep an NPU's sizes for one or several models. All of it is emulation, and says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.npu_words import HardwareName, NpuObjectiveWord
from mosaic_onnx.cli.parse import split_words

if TYPE_CHECKING:
    from mosaic_onnx.npu.explore.explore import Exploration


def explore_sizes(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL.onnx…", help="Models to design for.")],
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            "--sweep",
            metavar="AXIS=VALUES",
            help="array=8x8..64x64 (doubled), buffer=64k,1M, registers=, dram= (bytes a cycle), clock=; repeat.",
        ),
    ] = None,
    hardware: HardwareName = "eyeriss",
    devices: Annotated[
        list[str] | None,
        typer.Option("-d", "--devices", metavar="NAME|FILE", help="Devices beside the NPU. Default: cpu."),
    ] = None,
    objective: Annotated[NpuObjectiveWord, typer.Option("--objective", help="What each mapping makes least.")] = (
        NpuObjectiveWord.latency
    ),
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the report goes.")] = Path(
        "explore"
    ),
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes. Default: one a core.")] = None,
    no_cache: opt.NoCache = False,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Sweep an NPU's sizes (emulated), plan the models on CPU and NPU for each, and keep what nothing beats."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin("sweeping sizes")
    from mosaic_onnx import api
    from mosaic_onnx.cli.views.tables import table
    from mosaic_onnx.files.atomic import refuse_to_replace, write_atomically
    from mosaic_onnx.npu.explore.explore import SCHEMA
    from mosaic_onnx.npu.explore.page import page_of

    refuse_to_replace(output / "index.html", force=force)
    found = api.explore_npu(
        models,
        hardware,
        sweep or (),
        devices=split_words(devices or ["cpu"]),
        objective=objective.value,
        cache=not no_cache,
        worker_count=workers,
        note=reporter.note,
    )
    page = page_of(found)
    fields = found.as_fields()
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "explore.json", (json.dumps({"schema": SCHEMA} | fields, indent=1) + "\n").encode())
    write_atomically(output / "index.html", page.encode())
    columns = ("NPU", "latency", "energy", "area")
    reporter.show(table("what nothing beats (emulated)", columns, _front_rows(found)))
    reporter.result(str(output / "index.html"))
    reporter.emit(SCHEMA, fields | {"folder": str(output)})


def _front_rows(found: Exploration) -> list[tuple[str, ...]]:
    """Return the rows of the points that none beats."""
    rows: list[tuple[str, ...]] = []
    for place in found.front:
        point = found.points[place]
        area = "–" if point.area_mm2 is None else f"{point.area_mm2:.3g} mm²"
        rows.append((point.name, f"{point.seconds * 1e3:.4g} ms", f"{point.joules * 1e3:.4g} mJ", area))
    return rows
