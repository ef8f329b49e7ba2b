"""Flags that several commands share, with one spelling and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The model.", show_default=False)]
BundleFolder = Annotated[Path, typer.Argument(metavar="MODEL.mosaic", help="A bundle that compile wrote.")]
ProfileFile = Annotated[Path, typer.Argument(metavar="PROFILE.json", help="A profile.")]
ProfileFiles = Annotated[
    list[Path],
    typer.Argument(metavar="PROFILE.json…", help="A profile; several are planned together.", show_default=False),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "-d",
        "--devices",
        metavar="NAME|FILE",
        help="Devices that take part: names, a devices.toml, or a shipped description such as hikey970; "
        "repeat or separate by commas. Default: every real device of the model's own precision.",
    ),
]
OwnDevices = Annotated[
    list[str] | None,
    typer.Option(
        "-d",
        "--devices",
        metavar="NAME|FILE",
        help="Devices of yours that take the place of the bundle's by name: names, a devices.toml, or a shipped "
        "description; repeat or separate by commas.",
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Let the bundle name libraries to load and folders to write: only if you know its maker."
    ),
]
Isolated = Annotated[
    bool, typer.Option("--isolated", help="Each device in a process of its own: one that crashes fails its slice only.")
]
RunLimit = Annotated[
    float | None,
    typer.Option("--time-limit", metavar="SECONDS", help="A slice that runs longer has failed; isolates the devices."),
]
Validate = Annotated[
    bool,
    typer.Option("--validate", help="A slice that makes NaN, infinities, or values far outside the sample's, failed."),
]
Fallback = Annotated[
    bool, typer.Option("--fallback", help="Another device of the bundle takes over a slice that failed; counted.")
]
Effort = Annotated[
    str | None,
    typer.Option(
        "--effort",
        metavar="quick|normal|thorough",
        help="How long to measure: quick for a first answer, thorough as long as it pays. Default: normal.",
    ),
]
TimeBudget = Annotated[
    str | None,
    typer.Option(
        "--time-budget",
        metavar="20s",
        help="How long it may take: efforts and measurements shrink to it, not loading and proving.",
    ),
]
ServedSeconds = Annotated[float, typer.Option("--seconds", min=0, help="How long to serve a scenario.")]
ServedMultiplier = Annotated[
    float, typer.Option("--multiplier", metavar="FACTOR", help="Scales all periods and deadlines of a scenario.")
]
CheckEvery = Annotated[
    int,
    typer.Option("--check-every", metavar="N", min=0, help="Compare every Nth frame's outputs with a first run's."),
]
Trace = Annotated[Path | None, typer.Option("--trace", metavar="FILE.json", help="Write a trace for ui.perfetto.dev.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="PATH", help="Where the result goes.")]
TimeLimit = Annotated[float, typer.Option("--time-limit", metavar="SECONDS", min=0, help="For solvers.")]
OutsidePasses = Annotated[
    list[str] | None,
    typer.Option("--pass", metavar="NAME", help="Passes that an installed package offers (docs/passes.md); repeat."),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Measure everything anew; neither read nor write the cache.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be written; write nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that is there.")]
Inputs = Annotated[
    Path | None, typer.Option("--inputs", metavar="FILE.npz", help="Inputs (.npz, or .npy for a single input).")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of inputs that are made up.")]
InputShape = Annotated[
    list[str] | None, typer.Option("--input-shape", metavar="NAME:1,3,224,224", help="Shape of a dynamic input.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors on stderr.")]


def _log(value: bool) -> None:
    if value:
        from mosaic_onnx.cli.terminal.logs import enable

        enable()


Verbose = Annotated[
    bool,
    typer.Option(
        "-v",
        "--verbose",
        is_eager=True,
        expose_value=False,
        callback=_log,
        help="Log passes, measurements and the cache to stderr; tracebacks of bugs.",
    ),
]
"""Every command has it (``lazy_group``)."""
