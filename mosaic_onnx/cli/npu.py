"""``mosaic-onnx npu``: list and show NPUs, and map models onto them. All of it is emulation, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.npu_explore import explore_sizes
from mosaic_onnx.cli.npu_words import CostModelWord, DataflowWord, HardwareName, NpuObjectiveWord
from mosaic_onnx.cli.options import Json, NoCache, Quiet

if TYPE_CHECKING:
    from mosaic_onnx.npu.hardware.description import Hardware

app = typer.Typer(
    help="Emulated NPUs: hardware as a file, exact dataflow search.", no_args_is_help=True, rich_markup_mode=None
)


def register(parent: typer.Typer) -> None:
    """Add the group of this room."""
    app.command("explore")(explore_sizes)
    parent.add_typer(app, name="npu")


@app.command("list")
def list_presets(as_json: Json = False, quiet: Quiet = False) -> None:
    """List the NPUs that ship with mosaic-onnx."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin("reading the NPUs' descriptions")
    from mosaic_onnx.cli.views.tables import table
    from mosaic_onnx.npu.hardware.file import load_hardware, preset_names

    found = [load_hardware(name) for name in preset_names()]
    rows = [
        (
            each.name,
            f"{each.array.rows} × {each.array.columns}",
            f"{each.buffer.total_bytes / 1024:.0f} kB",
            f"{each.dram.bytes_per_cycle * each.clock_hz / 1e9:.3g} GB/s",
            f"{each.clock_hz / 1e6:.0f} MHz",
            each.precision.name,
        )
        for each in found
    ]
    reporter.show(table("NPUs (emulated)", ("name", "array", "buffer", "DRAM", "clock", "precision"), rows))
    for each in found:
        reporter.result(each.name)
    fields = [{"name": each.name, "summary": each.summary, "macs_per_cycle": each.array.mac_count} for each in found]
    reporter.emit("mosaic-onnx/npu-list/1", {"npus": fields, "simulated": True})


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE.toml", help="A shipped NPU, or an npu.toml.")],
    as_json: Json = False,
) -> None:
    """Print an NPU's description: as TOML to start an own one from, or as JSON."""
    import dataclasses

    from mosaic_onnx.files.atomic import read_text
    from mosaic_onnx.npu.hardware.file import load_hardware, preset_names, preset_text

    hardware = load_hardware(name)
    reporter = Reporter(json=as_json)
    reporter.result((preset_text(name) if name in preset_names() else read_text(name)).rstrip())
    reporter.emit("mosaic-onnx/npu-hardware/1", {"hardware": dataclasses.asdict(hardware), "simulated": True})


@app.command("map")
def map_layers(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx|LAYERS.csv", help="A model, or a list of layers.")],
    hardware: HardwareName = "eyeriss",
    dataflow: Annotated[DataflowWord, typer.Option("--dataflow", help="best searches all mappings exactly.")] = (
        DataflowWord.best
    ),
    objective: Annotated[NpuObjectiveWord, typer.Option("--objective", help="What each mapping makes least.")] = (
        NpuObjectiveWord.latency
    ),
    cost_model: Annotated[
        CostModelWord, typer.Option("--cost-model", help="Ours (analytical, cycle), or a published rule.")
    ] = CostModelWord.analytical,
    compare: Annotated[bool, typer.Option("--compare", help="Beside every fixed dataflow, layer by layer.")] = False,
    fusion: Annotated[bool, typer.Option("--fuse", help="Also run chains depth-first where it pays.")] = False,
    roofline: Annotated[
        Path | None, typer.Option("--roofline", metavar="FILE.svg|png|pdf", help="Draw every layer under the roof.")
    ] = None,
    timeline: Annotated[
        str | None,
        typer.Option("--timeline", metavar="LAYER", help="Draw a layer's first tiles (with --picture)."),
    ] = None,
    picture: Annotated[
        Path, typer.Option("--picture", metavar="FILE.svg|png|pdf", help="Where --timeline draws.")
    ] = Path("timeline.svg"),
    no_cache: NoCache = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Map every layer of a model onto an NPU (emulated): cycles, energy, and the proof of each mapping."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin(f"mapping {model}")
    from mosaic_onnx.files.cache import Cache
    from mosaic_onnx.npu.hardware.file import load_hardware
    from mosaic_onnx.npu.published.tables import PUBLISHED, published_layers

    npu = load_hardware(hardware)
    if cost_model.value in PUBLISHED:
        _tell_published(reporter, npu, published_layers(model, npu, cast(Any, cost_model.value), dataflow.value))
        return
    from mosaic_onnx.npu.layers.csv_file import read_layers
    from mosaic_onnx.npu.layers.model import read_model
    from mosaic_onnx.npu.model_map import SCHEMA, map_model
    from mosaic_onnx.npu.report.tables import comparison_table, map_table, refused_table

    cache = None if no_cache else Cache()
    layers = read_layers(model) if model.suffix.lower() == ".csv" else read_model(model, npu)
    found = map_model(layers, npu, dataflow.value, objective.value, cast(Any, cost_model.value), cache)
    reporter.show(map_table(found))
    if found.refused:
        reporter.show(refused_table(found))
    if compare:
        reporter.show(comparison_table(layers, found, objective.value, cache))
    fields = found.as_fields()
    if fusion:
        from mosaic_onnx.npu.report.tables import fusion_fields, fusion_table
        from mosaic_onnx.npu.search.fusion import fuse

        fused = fuse(layers, npu, objective.value, cache)
        reporter.show(fusion_table(layers, fused, objective.value))
        fields["fusion"] = fusion_fields(layers, fused)
    if roofline is not None:
        from mosaic_onnx.npu.report.pictures import draw_roofline

        draw_roofline(found, roofline)
    if timeline is not None:
        from mosaic_onnx.npu.report.pictures import draw_timeline

        draw_timeline(found, timeline, picture)
    for note in () if cache is None else cache.notes:
        reporter.note(note)
    seconds = found.cycles / npu.clock_hz
    reporter.result(
        f"{found.cycles} cycles, {seconds * 1e3:.4g} ms, {found.joules * 1e3:.4g} mJ on {npu.name} (emulated)"
    )
    reporter.emit(SCHEMA, fields)


def _tell_published(reporter: Reporter, hardware: Hardware, layers: list[dict[str, Any]]) -> None:
    """Print layers by a published rule."""
    from mosaic_onnx.cli.views.tables import table
    from mosaic_onnx.npu.model_map import SCHEMA

    cycles = sum(layer["cycles"] for layer in layers)
    rows = [(layer["name"], f"{layer['cycles']:,}", f"{layer['utilisation']:.1%}") for layer in layers]
    reporter.show(table(f"{hardware.name}, by a published rule", ("layer", "cycles", "utilisation"), rows))
    reporter.result(f"{cycles} cycles, {cycles / hardware.clock_hz * 1e3:.4g} ms on {hardware.name} (emulated)")
    fields = {"hardware": hardware.name, "simulated": True, "layers": layers, "cycles": cycles}
    reporter.emit(SCHEMA, fields | {"seconds": cycles / hardware.clock_hz, "joules": None})
