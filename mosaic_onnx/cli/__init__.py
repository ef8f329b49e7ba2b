"""The command line: parse, call the API, print. Modules are imported by the commands that need them."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from mosaic_onnx.cli.failures import run_guarded
from mosaic_onnx.cli.lazy_group import LazyCommand, lazy_group, loaded_command
from mosaic_onnx.cli.options import Verbose

PROGRAM = "mosaic-onnx"

COMMANDS = {
    "devices": LazyCommand("machine", "List the devices that are here, and why others are not."),
    "doctor": LazyCommand("machine", "Say what this machine offers, and what stands in the way."),
    "inspect": LazyCommand("building", "Show a model or bundle: inputs, outputs, work, layers, who can run which."),
    "profile": LazyCommand("building", "Measure every layer on every device; Ctrl-C keeps what was measured."),
    "plan": LazyCommand("building", "Plan from a profile, with no device at hand."),
    "compile": LazyCommand("building", "Profile, plan, partition, measure and prove a model; write MODEL.mosaic/."),
    "run": LazyCommand("running", "Run a bundle, or a plain model on one device (-d)."),
    "verify": LazyCommand("running", "Prove a bundle right, slice by slice and end to end."),
    "bench": LazyCommand("timing", "Time a bundle: latency, throughput, each slice measured beside predicted."),
    "export": LazyCommand("exporting", "Write the partitioned model as one file that ONNX Runtime alone runs."),
    "annotate": LazyCommand("exporting", "Tag a model's nodes with a plan's devices, for stock ONNX Runtime."),
    "show": LazyCommand("reporting", "Show a plan: its slices, its transfers, and what could run instead."),
    "explain": LazyCommand(
        "reporting", "Say why a plan is as it is: boundaries, missing operators, one layer's moves."
    ),
    "report": LazyCommand("reporting", "Write a plan as one page to look at."),
    "diff": LazyCommand("studying", "Say what one plan does otherwise than another of the same layers."),
    "import": LazyCommand("studying", "Turn a profile that another tool wrote into profile.json."),
    "schedule": LazyCommand("scheduling", "Plan many models with periods and deadlines on one machine."),
    "serve-scenario": LazyCommand("scheduling", "Serve all models of a site: rates, latencies, misses."),
    "reproduce": LazyCommand("studying", "Reproduce a paper's evaluation: tables, plots, theirs beside ours."),
    "schema": LazyCommand("schemas", "Print the JSON Schema of a file that mosaic-onnx reads."),
    "cache": LazyCommand("caching", "Measurements that profile and compile keep."),
    "npu": LazyCommand("npu", "Emulated NPUs: hardware as a file, exact dataflow search."),
}
"""In the order of the help."""

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of typer for the program and each command."""
app = typer.Typer(
    name=PROGRAM,
    cls=lazy_group(COMMANDS),
    help="Partition an ONNX model across the unequal devices of a machine.",
    epilog="Options may stand in a mosaic.toml, or in [tool.mosaic-onnx] of a pyproject.toml: docs/command-line.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=CONTEXT,
)


def _show_version(value: bool) -> None:
    if value:
        from mosaic_onnx import __version__

        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Partition an ONNX model across the unequal devices of a machine."""


def main() -> None:
    """Run ``mosaic-onnx`` and exit: the entry point."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line.

    Args:
        arguments: the words after the program's name.

    Returns:
        The exit code: 0 ok, 1 model or input, 2 usage, 3 infeasible, 4 outputs differ, 5 backend or profiling
        failed, 70 a bug, 130 interrupted, 141 nobody reads the output any more.
    """
    return run_guarded(lambda: _call(arguments), arguments)


def _call(arguments: list[str]) -> Any:
    """Call the program.

    The help of a command does without the program's own options, for whose values typer imports pydantic: that alone
    takes longer than all the rest.
    """
    if len(arguments) == 2 and arguments[0] in COMMANDS and arguments[1] in CONTEXT["help_option_names"]:
        name = arguments[0]
        command = loaded_command(COMMANDS[name].room, name)
        return command.main(arguments[1:], prog_name=f"{PROGRAM} {name}", standalone_mode=False, **CONTEXT)
    return app(arguments, prog_name=PROGRAM, standalone_mode=False)
