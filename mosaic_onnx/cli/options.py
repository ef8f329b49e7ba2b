"""Flags that several commands share: one spelling, one help text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ObjectiveWord(StrEnum):
    """What the plan is best at."""

    latency = "latency"
    energy = "energy"
    edp = "edp"
    throughput = "throughput"


class PlanObjectiveWord(StrEnum):
    """What a plan from profiles is best at."""

    latency = "latency"
    energy = "energy"
    edp = "edp"
    throughput = "throughput"
    sum_latency = "sum-latency"


class ScheduleWord(StrEnum):
    """Whether devices work at once."""

    sequential = "sequential"
    concurrent = "concurrent"


class GranularityWord(StrEnum):
    """What one layer is."""

    fused = "fused"
    node = "node"
    block = "block"


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
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="PATH", help="Where the result goes.")]
Objective = Annotated[ObjectiveWord, typer.Option("--objective", help="What the plan is best at.")]
PlanObjective = Annotated[
    PlanObjectiveWord,
    typer.Option("--objective", help="What the plan is best at; sum-latency: of several models, their latencies."),
]
Schedule = Annotated[ScheduleWord, typer.Option("--schedule", help="Whether devices may work at once.")]
Method = Annotated[str, typer.Option("--method", metavar="NAME", help="Planner method; auto picks (see docs).")]
TimeLimit = Annotated[float, typer.Option("--time-limit", metavar="SECONDS", min=0, help="For solvers.")]
Deadline = Annotated[
    float | None, typer.Option("--deadline-ms", metavar="MS", min=0, help="Latency that the plan must not exceed.")
]
Budget = Annotated[
    float | None, typer.Option("--energy-mj", metavar="MJ", min=0, help="Energy (millijoules) not to exceed.")
]
MaxError = Annotated[
    float | None,
    typer.Option(
        "--max-error",
        metavar="SHARE",
        min=0,
        help="Largest error of any output relative to its largest value (1e-2): lets devices of lower precision take "
        "part. plan: the sum of the layers' errors.",
    ),
]
Samples = Annotated[
    Path | None,
    typer.Option(
        "--samples",
        metavar="FILE.npz",
        help="Inputs that errors are measured on, stacked along the first axis. Default: --inputs, or drawn by seed.",
    ),
]
OneSlice = Annotated[
    bool, typer.Option("--one-slice-per-device", help="Throughput: each device holds one convex set of layers.")
]
Memory = Annotated[
    list[str] | None, typer.Option("--memory", metavar="DEVICE=AMOUNT", help="Cap on all slices of a device.")
]
SliceMemory = Annotated[
    list[str] | None, typer.Option("--slice-memory", metavar="DEVICE=AMOUNT", help="Cap on each slice of a device.")
]
InputShape = Annotated[
    list[str] | None, typer.Option("--input-shape", metavar="NAME:1,3,224,224", help="Shape of a dynamic input.")
]
Pin = Annotated[
    list[str] | None,
    typer.Option("--pin", metavar="REGEX=DEVICE", help="Layers whose name or node matches run there, nowhere else."),
]
Forbid = Annotated[
    list[str] | None, typer.Option("--forbid", metavar="REGEX=DEVICE", help="Matching layers never run there.")
]
MinSlices = Annotated[
    int,
    typer.Option("--min-slices", metavar="K", min=0, help="At least K slices (for tests; switches do-no-harm off)."),
]
NoFallback = Annotated[
    bool, typer.Option("--no-fallback", help="Deliver the plan even if a single device measures faster.")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Measure everything anew; neither read nor write the cache.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be written; write nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that is there.")]
Inputs = Annotated[
    Path | None, typer.Option("--inputs", metavar="FILE.npz", help="Inputs (.npz, or .npy for a single input).")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of inputs that are made up.")]
Granularity = Annotated[GranularityWord, typer.Option("--granularity", help="What one layer is.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors on stderr.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="More on stderr; tracebacks of bugs.")]
