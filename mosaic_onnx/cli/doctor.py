"""``mosaic-onnx doctor``: what this machine offers, and what stands in the way."""

from __future__ import annotations

import dataclasses
import shutil
import sys

import typer

from mosaic_onnx.cli import options as opt
from mosaic_onnx.cli.console import Reporter
from mosaic_onnx.cli.parse import split_words
from mosaic_onnx.cli.terminal.columns import hanging

MARKS = {"ok": "+", "note": "!", "absent": "-"}


def register(app: typer.Typer) -> None:
    """Add the command of this room."""
    app.command()(doctor)


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
