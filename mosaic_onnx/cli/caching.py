"""``mosaic-onnx cache``: where measurements are kept, and how to drop them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.options import Json, Quiet

if TYPE_CHECKING:
    from mosaic_onnx.files.cache import RemovedEntries

app = typer.Typer(help="Measurements that profile and compile keep.", no_args_is_help=True, rich_markup_mode=None)


def register(parent: typer.Typer) -> None:
    """Add the group of this room."""
    parent.add_typer(app, name="cache")


@app.command("dir")
def show_folder(as_json: Json = False) -> None:
    """Print the folder of the cache."""
    from mosaic_onnx.files.cache import Cache

    folder = Cache().folder
    reporter = Reporter(json=as_json)
    reporter.result(str(folder))
    reporter.emit("mosaic-onnx/cache/1", {"folder": str(folder)})


@app.command("clean")
def clean(as_json: Json = False, quiet: Quiet = False) -> None:
    """Drop every measurement."""
    from mosaic_onnx.files.cache import Cache

    cache = Cache()
    _tell(Reporter(json=as_json, quiet=quiet), str(cache.folder), cache.clean())


@app.command("prune")
def prune(
    older_than_days: Annotated[float, typer.Option(min=0, help="Drop what has not been used for so long.")] = 30.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Drop measurements that have not been used for a while."""
    from mosaic_onnx.files.cache import Cache

    cache = Cache()
    _tell(Reporter(json=as_json, quiet=quiet), str(cache.folder), cache.prune(max_age_s=older_than_days * 86400))


def _tell(reporter: Reporter, folder: str, removed: RemovedEntries) -> None:
    reporter.result(f"{removed.entry_count} measurements ({removed.entry_bytes} bytes) dropped from {folder}")
    reporter.emit("mosaic-onnx/cache/1", {"folder": folder, **dataclasses.asdict(removed)})
