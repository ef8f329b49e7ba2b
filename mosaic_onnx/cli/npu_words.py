"""Words and flags that the commands of ``mosaic-onnx npu`` share."""

from __future__ import annotations

from typing import Annotated

import typer

from mosaic_onnx.core.compatibility import StrEnum


class DataflowWord(StrEnum):
    """The dataflow of the array."""

    best = "best"
    nvdla = "nvdla"
    eyeriss = "eyeriss"
    shidiannao = "shidiannao"
    os = "os"
    ws = "ws"
    is_ = "is"
    genetic = "genetic"


class NpuObjectiveWord(StrEnum):
    """The objective of a mapping."""

    latency = "latency"
    energy = "energy"
    edp = "edp"


class CostModelWord(StrEnum):
    """The timing model of a layer."""

    analytical = "analytical"
    cycle = "cycle"
    scale_sim = "scale-sim"
    nvdla_sheet = "nvdla-sheet"
    midap = "midap"


HardwareName = Annotated[str, typer.Option("--hardware", metavar="NAME|FILE.toml", help="The NPU (npu list).")]
