"""``mosaic-onnx schema``: the JSON Schema of a file, for editors and for other tools."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Annotated, Any

import typer

from mosaic_onnx.cli.console import Reporter

KINDS = {
    "profile": "files.profile_file:profile_schema",
    "plan": "files.plan_file:plan_schema",
    "devices": "files.device_file:devices_schema",
    "manifest": "files.manifest:manifest_schema",
    "scenario": "scenarios.file:scenario_schema",
    "npu": "npu.hardware.file:npu_schema",
    "decoder": "importers.decoder.file:decoder_schema",
    "machine": "importers.decoder.file:machine_schema",
}
"""The function that makes each schema, of a module that is imported when it is asked for."""


def register(app: typer.Typer) -> None:
    """Add the command of this room."""
    app.command()(schema)


def schema(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(KINDS)}.")],
) -> None:
    """Print the JSON Schema of a file that mosaic-onnx reads; its keys are refused by path where they are wrong."""
    reporter = Reporter()
    reporter.begin(f"writing the JSON Schema of a {kind} file")
    reporter.result(json.dumps(schema_of(kind), indent=1))


def schema_of(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind of file.

    Raises:
        UsageError: there is no such kind.
    """
    from mosaic_onnx.core.errors import UsageError

    if kind not in KINDS:
        raise UsageError(f"there is no file called '{kind}' here", f"one of {', '.join(KINDS)}")
    module, _, name = KINDS[kind].partition(":")
    schema: dict[str, Any] = getattr(import_module(f"mosaic_onnx.{module}"), name)()
    return schema
