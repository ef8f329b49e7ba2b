"""``mosaic-onnx schema``: the JSON Schema of a file, for editors and for other tools."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mosaic_onnx.cli.console import Reporter

KINDS = ("profile", "plan", "devices", "manifest", "scenario", "npu", "decoder", "machine")


def register(app: typer.Typer) -> None:
    """Add the command of this room."""
    app.command()(schema)


def schema(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(KINDS)}.")],
) -> None:
    """Print the JSON Schema of a file that mosaic-onnx reads; its keys are refused by path where they are wrong."""
    reporter = Reporter()
    reporter.begin("writing a JSON Schema")
    reporter.result(json.dumps(schema_of(kind), indent=1))


def schema_of(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind of file.

    Raises:
        UsageError: there is no such kind.
    """
    from mosaic_onnx.core.errors import UsageError
    from mosaic_onnx.files.device_file import devices_schema
    from mosaic_onnx.files.manifest import manifest_schema
    from mosaic_onnx.files.plan_file import plan_schema
    from mosaic_onnx.files.profile_file import profile_schema
    from mosaic_onnx.importers.decoder.file import decoder_schema, machine_schema
    from mosaic_onnx.npu.hardware.file import npu_schema
    from mosaic_onnx.scenarios.file import scenario_schema

    known = {
        "profile": profile_schema,
        "plan": plan_schema,
        "devices": devices_schema,
        "manifest": manifest_schema,
        "scenario": scenario_schema,
        "npu": npu_schema,
        "decoder": decoder_schema,
        "machine": machine_schema,
    }
    if kind not in known:
        raise UsageError(f"there is no file called '{kind}' here", f"one of {', '.join(known)}")
    return known[kind]()
