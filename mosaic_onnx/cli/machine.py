"""Commands about this machine: its devices, what else it offers, and what stands in the way."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.parse import split_words
from mosaic_onnx.cli.terminal.columns import hanging

MARKS = {"ok": "+", "note": "!", "absent": "-"}


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    for command in (devices, doctor):
        app.command()(command)


def devices(
    device_words: opt.Devices = None,
    write: Annotated[Path | None, typer.Option("--write", metavar="FILE.toml", help="Write what is here.")] = None,
    force: opt.Force = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """List the devices that are here, and why others are not."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin("looking for devices")
    from mosaic_onnx import api
    from mosaic_onnx.cli.views.tables import absent_table, device_table

    found = api.find_devices(split_words(device_words or ()))
    if write is not None:
        api.write_devices(found.devices, write, force=force)
        reporter.note(f"wrote {write}")
    if quiet:
        for device in found.devices:
            reporter.result(device.name)
    else:
        reporter.show_result(device_table(found), *([absent_table(found)] if found.absent else []))
    reporter.emit(
        "mosaic-onnx/device-list/1",
        {
            "devices": [dataclasses.asdict(device) for device in found.devices],
            "default": [device.name for device in found.chosen],
            "absent": [dataclasses.asdict(absent) for absent in found.absent],
        },
    )


def doctor(device_words: opt.Devices = None, as_json: opt.Json = False, quiet: opt.Quiet = False) -> None:
    """Say what this machine offers: devices, frequencies, energy meters, huge pages, load, versions."""
    reporter = Reporter(json=as_json, quiet=quiet)
    reporter.begin("examining this machine")
    from mosaic_onnx import api

    findings = api.examine_machine(split_words(device_words or ()))
    screen = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    width = max(len(one.topic) for one in findings)
    for one in findings:
        reporter.result(hanging(f"{MARKS[one.verdict]} {one.topic:<{width}}  ", one.text, screen))
    reporter.emit("mosaic-onnx/doctor/1", {"findings": [dataclasses.asdict(one) for one in findings]})
