"""Our exact search against ZigZag's (LOMA) on its own TPU-like description: time, and both judged by ZigZag's model.

ZigZag runs in an environment of its own (``zigzag-dse`` 3.9.1 and ``six``), named by ``MOSAIC_ZIGZAG_PYTHON``;
without it this benchmark says so and measures nothing. Our optima (latency, energy, their product) are handed to
ZigZag as orders of loops: within a tile our model leaves open which of the loops that do not index the stationary
operand comes first, so a few orders are tried.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.npu.networks import convolution
from bench.report import Row
from mosaic_onnx.npu import LoopNest, Mapping, best_dataflow, load_hardware
from mosaic_onnx.npu.costs.evaluate import Objective

VARIABLE = "MOSAIC_ZIGZAG_PYTHON"
LAYERS = tuple(
    convolution(f"{taps}×{taps} {channels}→{outputs} @{extent}", channels, extent, outputs, taps, stride)
    for channels, extent, outputs, taps, stride in (
        (64, 56, 64, 3, 1),
        (64, 56, 256, 1, 1),
        (256, 56, 64, 1, 1),
        (128, 28, 128, 3, 1),
        (128, 28, 512, 1, 1),
        (512, 28, 128, 1, 1),
        (256, 14, 256, 3, 1),
        (256, 14, 1024, 1, 1),
        (1024, 14, 256, 1, 1),
        (512, 7, 512, 3, 1),
        (512, 7, 2048, 1, 1),
        (2048, 7, 512, 1, 1),
    )
)
OBJECTIVES: tuple[Objective, ...] = ("latency", "energy")
SEARCHED: tuple[Objective, ...] = ("latency", "energy", "edp")
NAMES = {"K": "K", "C": "C", "P": "OY", "Q": "OX", "R": "FY", "S": "FX"}
INSIDE = (("S", "R", "C", "Q", "P", "K"), ("S", "R", "C", "K", "Q", "P"), ("Q", "P", "S", "R", "C", "K"))
"""Orders of the loops inside a tile, innermost first."""
UNROLLED = {"K": 32, "C": 32}


def run(quick: bool) -> list[Row]:
    python = os.environ.get(VARIABLE, "")
    if not python or not Path(python).exists():
        note = f"skipped: set {VARIABLE} to a Python that has zigzag-dse 3.9.1 and six"
        return [Row("against ZigZag", float("nan"), "ratio", note=note)]
    layers = LAYERS[:2] if quick else LAYERS
    ours, requests = [], []
    for layer in layers:
        mappings, wall_s, cpu_s = searched(layer)
        for objective in OBJECTIVES:
            ours.append((wall_s, cpu_s))
            entry = {"layer": entry_of(layer), "objective": objective}
            requests.append(entry)
            requests += [
                {**entry, "ordering": ordering_of(layer, found, inside)} for found in mappings for inside in INSIDE
            ]
    answers = ask(python, requests)
    return rows_of(layers, ours, answers)


def searched(layer: LoopNest) -> tuple[list[Mapping], float, float]:
    """Our optima for each objective: what ties in our model need not tie in ZigZag's, so it judges all three."""
    start, used = time.perf_counter(), time.process_time()
    hardware = load_hardware("tpu-like")
    found = [best_dataflow(layer, hardware, objective).mapping for objective in SEARCHED]
    spent = time.perf_counter() - start, time.process_time() - used
    return [mapping for mapping in found if mapping is not None], *spent


def entry_of(layer: LoopNest) -> dict[str, Any]:
    sizes = {loop: layer.trip(loop) for loop in ("K", "C", "P", "Q", "R", "S")}
    return {**sizes, "G": 1, "stride": layer.stride[0], "spatial": {"D1": ["K, 32"], "D2": ["C, 32"]}}


def ordering_of(layer: LoopNest, mapping: Mapping, inside: tuple[str, ...]) -> list[list[Any]]:
    """The mapping's loops, innermost first; trip counts become the next larger divisor, so tiles only get smaller."""
    outer = {}
    for loop in ("K", "C", "P", "Q"):
        whole = layer.trip(loop) // UNROLLED.get(loop, 1)
        trips = -(-layer.trip(loop) // mapping.tiles[loop])
        outer[loop] = next(n for n in range(1, whole + 1) if whole % n == 0 and (n >= trips or n == whole))
    inner = {loop: layer.trip(loop) // UNROLLED.get(loop, 1) // outer.get(loop, 1) for loop in inside}
    order = [[NAMES[loop], inner[loop]] for loop in inside]
    order += [[NAMES[loop], outer[loop]] for loop in reversed(mapping.order) if loop in outer]
    return [pair for pair in order if pair[1] > 1]


def ask(python: str, requests: list[dict[str, Any]]) -> list[dict[str, float]]:
    child = Path(__file__).with_name("zigzag_child.py")
    done = subprocess.run([python, str(child)], input=json.dumps(requests), capture_output=True, text=True, check=True)
    answers: list[dict[str, float]] = json.loads(done.stdout)
    return answers


def rows_of(
    layers: tuple[LoopNest, ...], ours: list[tuple[float, float]], answers: list[dict[str, float]]
) -> list[Row]:
    rows, speed = [], []
    step = 1 + len(SEARCHED) * len(INSIDE)
    worst: dict[str, list[float]] = {objective: [] for objective in OBJECTIVES}
    for number, (_, cpu_s) in enumerate(ours):
        theirs, *given = answers[number * step : (number + 1) * step]
        layer, objective = layers[number // 2], OBJECTIVES[number % 2]
        figure = "cycles" if objective == "latency" else "joules"
        usable = [answer[figure] for answer in given if figure in answer]
        if figure not in theirs or not usable:
            rows.append(Row(f"{layer.name}, {objective}", float("nan"), "ratio", note=str(answers[number * step])))
            continue
        worst[objective].append(min(usable) / theirs[figure])
        speed.append(cpu_s / theirs["processor_seconds"])
        words = f"theirs {theirs[figure]:.6g}, our mapping {min(usable):.6g} {figure} by ZigZag's model"
        times = f"search {cpu_s:.2f} s against {theirs['processor_seconds']:.2f} s of processor time"
        rows.append(Row(f"{layer.name}, {objective}", worst[objective][-1], "ratio", note=f"{words}; {times}"))
    for objective, ratios in worst.items():
        if ratios:
            rows.append(
                Row(f"our mapping over ZigZag's, {objective}, worst layer", max(ratios), "ratio", 1.0, "ZigZag")
            )
    if speed:
        rows.append(Row("our search over ZigZag's, processor time, median", statistics.median(speed), "ratio", 0.2))
    return rows
